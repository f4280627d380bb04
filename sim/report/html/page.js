// SPDX-License-Identifier: Apache-2.0
// Draws the charts of a report page, sorts its tables, switches light and dark, saves the scenario.
(function () {
  "use strict";
  const errors = [];
  window.addEventListener("error", (event) => errors.push(event.message));
  const root = document.documentElement;
  const charts = [];

  function css(name) { return getComputedStyle(root).getPropertyValue(name).trim(); }
  function color(i) { return css("--c" + (i % 7)); }
  function short(value) {
    if (value === null || value === undefined || !isFinite(value)) return "";
    const size = Math.abs(value);
    if (size >= 1e9) return (value / 1e9).toPrecision(3) + " G";
    if (size >= 1e6) return (value / 1e6).toPrecision(3) + " M";
    if (size >= 1e4) return (value / 1e3).toPrecision(3) + " k";
    return String(Number(value.toPrecision(4)));
  }
  function axis(title, logarithmic) {
    return {
      type: logarithmic ? "logarithmic" : "linear",
      title: { display: Boolean(title), text: title, color: css("--faint") },
      ticks: { color: css("--faint"), callback: (value) => short(value) },
      grid: { color: css("--line") }
    };
  }
  function options(spec) {
    return {
      responsive: true, maintainAspectRatio: false, animation: false,
      plugins: {
        legend: { display: spec.series.length > 1, labels: { color: css("--ink") } },
        tooltip: {
          callbacks: {
            label: (item) => {
              const point = item.raw;
              if (point !== null && typeof point === "object") {
                return (point.label ? point.label + ": " : "") + short(point.x) + ", " + short(point.y);
              }
              return item.dataset.label + ": " + short(point);
            }
          }
        }
      }
    };
  }

  function bars(spec) {
    const sideways = spec.type === "bars";
    const settings = options(spec);
    settings.indexAxis = sideways ? "y" : "x";
    const numbers = axis(spec.value, spec.log);
    const names = { type: "category", ticks: { color: css("--ink"), autoSkip: false }, grid: { display: false } };
    settings.scales = sideways ? { x: numbers, y: names } : { x: names, y: numbers };
    for (const scale of Object.values(settings.scales)) scale.stacked = Boolean(spec.stacked);
    return {
      type: "bar",
      data: {
        labels: spec.names,
        datasets: spec.series.map((series, i) => ({
          label: series.name, data: series.values, maxBarThickness: 34,
          backgroundColor: spec.signed ? series.values.map((v) => (v < 0 ? css("--c1") : css("--c0"))) : color(i)
        }))
      },
      options: settings
    };
  }

  function points(spec) {
    const settings = options(spec);
    settings.scales = { x: axis(spec.x, spec.log_x), y: axis(spec.y, spec.log_y) };
    return {
      type: "scatter",
      data: {
        datasets: spec.series.map((series, i) => ({
          label: series.name, data: series.points, showLine: Boolean(series.line), borderColor: color(i),
          backgroundColor: color(i), pointRadius: series.dots === false ? 0 : series.small ? 2 : 4, borderWidth: 2, stepped: series.stepped || false
        }))
      },
      options: settings
    };
  }

  function heat(canvas, spec) {
    const rows = spec.rows.length;
    const columns = rows > 0 ? spec.rows[0].length : 0;
    canvas.width = Math.max(1, columns);
    canvas.height = Math.max(1, rows);
    canvas.style.height = Math.min(260, 24 + 8 * rows) + "px";
    const pen = canvas.getContext("2d");
    let high = 2; // the mean is 1: even loads show in the middle of the scale
    for (const row of spec.rows) for (const value of row) high = Math.max(high, value);
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        const share = spec.rows[r][c] / high;
        const hue = 230 - 200 * share;
        pen.fillStyle = "hsl(" + hue + ", 70%, " + (25 + 35 * share) + "%)";
        pen.fillRect(c, r, 1, 1);
      }
    }
    canvas.addEventListener("mousemove", (event) => {
      const box = canvas.getBoundingClientRect();
      const c = Math.min(columns - 1, Math.floor((event.clientX - box.left) / box.width * columns));
      const r = Math.min(rows - 1, Math.floor((event.clientY - box.top) / box.height * rows));
      if (r >= 0 && c >= 0) {
        canvas.title = spec.row + " " + r + ", " + spec.column + " " + c + ": " + short(spec.rows[r][c]) + " x mean";
      }
    });
  }

  // A chart of sideways bars is as tall as its names need.
  function fit(canvas, spec) {
    if (spec.type === "bars") canvas.parentElement.style.height = 70 + 28 * spec.names.length + "px";
  }

  function draw() {
    while (charts.length > 0) charts.pop().destroy();
    for (const canvas of document.querySelectorAll("canvas[data-chart]")) {
      const spec = JSON.parse(document.getElementById(canvas.dataset.chart).textContent);
      if (spec.type === "heat") {
        heat(canvas, spec);
      } else {
        fit(canvas, spec);
        charts.push(new Chart(canvas, spec.type === "points" ? points(spec) : bars(spec)));
      }
    }
  }

  function sortable(table) {
    const heads = table.querySelectorAll("thead th");
    heads.forEach((head, column) => {
      const sort = () => {
        const rising = head.getAttribute("aria-sort") === "descending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", rising ? "ascending" : "descending");
        const body = table.tBodies[0];
        const rows = Array.from(body.rows);
        const key = (row) => {
          const cell = row.cells[column];
          return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
        };
        const order = (a, b) => {
          if (typeof a === "number" && typeof b === "number") return a - b;
          return String(a).localeCompare(String(b));
        };
        rows.sort((a, b) => (rising ? 1 : -1) * order(key(a), key(b)));
        for (const row of rows) body.appendChild(row);
      };
      head.tabIndex = 0;
      head.addEventListener("click", sort);
      head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
    });
  }

  function theme(name) {
    root.dataset.theme = name;
    draw();
  }

  const dark = window.matchMedia && window.matchMedia("(prefers-color-scheme: dark)").matches;
  theme(dark ? "dark" : "light");
  document.getElementById("theme").addEventListener("click", () => theme(root.dataset.theme === "dark" ? "light" : "dark"));
  document.querySelectorAll("table.sortable").forEach(sortable);
  for (const button of document.querySelectorAll("button[data-save]")) {
    button.addEventListener("click", () => {
      const link = document.createElement("a");
      const text = document.getElementById(button.dataset.save).textContent;
      link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
      link.download = button.dataset.name;
      link.click();
    });
  }
  root.dataset.charts = String(charts.length);
  root.dataset.errors = String(errors.length);
})();
