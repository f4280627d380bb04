// SPDX-License-Identifier: Apache-2.0
#include "sim/report/plan_report.h"

#include <algorithm>
#include <cmath>
#include <ostream>
#include <set>

#include "sim/base/quantity_text.h"
#include "sim/run/version.h"

namespace moesim {
namespace {

std::string usd_text(double usd) {
  return std::isfinite(usd) ? "$" + plain_number_text(usd, 4) : "none fits";
}

std::string option_text(const PlanOption& option) {
  std::string text = count_text(static_cast<double>(option.gpus)) + " GPUs of " + option.cluster +
                     ", " + choice_name(option.mode);
  return text;
}

std::string factor_text(double factor) {
  return std::isfinite(factor) ? plain_number_text(factor, 3) + " x the load" : "not up to 16 x";
}

/// What stops a bigger batch: the answer's own limit.
std::string limit_text(const PlannedPool& pool, const ServiceLimits& slo) {
  if (pool.point.role == PoolRole::prefill) {
    return "prompts/step " + plain_number_text(pool.point.prompts_per_step);
  }
  return pool.answer.tpot_s > 0.9 * slo.tpot_s
             ? "limited by the time per token"
             : "memory " + plain_number_text(pool.point.memory_fraction * 100, 2) + "% full";
}

void write_service(std::ostream& out, const ServicePlan& plan, const PlanReport& whole,
                   bool markdown) {
  const std::string item = markdown ? "- " : "  ";
  const auto head = [&](const std::string& text) {
    out << "\n" << (markdown ? "### " : "") << text << "\n" << (markdown ? "\n" : "");
  };
  const LoadForecast& load = plan.service.load;
  out << (markdown ? "\n## " : "\n") << plan.service.name << "\n"
      << (markdown ? "\n" : "") << plan.service.model << ", "
      << plain_number_text(load.requests_per_s) << " requests/s of "
      << count_text(load.prompt_tokens) << " + " << count_text(load.output_tokens) << " tokens; "
      << plain_number_text(plan.service.slo.quantile * 100) << "% within "
      << quantity_text(Seconds(plan.service.slo.ttft_s)) << " to the first token and "
      << quantity_text(Seconds(plan.service.slo.tpot_s)) << " a token\n";
  if (plan.options.empty()) {
    out << "\n" << item << "NOTHING MEETS THE LIMITS within the hardware of the request\n";
  } else {
    const PlanOption& best = plan.options.front();
    head("Cheapest");
    out << item << option_text(best) << ": " << usd_text(best.usd_per_hour) << "/h (80% band "
        << usd_text(best.usd_low) << " to " << usd_text(best.usd_high) << ")\n";
    for (const PlannedPool& pool : best.pools) {
      out << item << pool_text(pool) << "; " << limit_text(pool, plan.service.slo) << "\n";
    }
    out << item << "first token " << quantity_text(Seconds(best.ttft_s)) << ", token "
        << quantity_text(Seconds(best.tpot_s)) << ", "
        << plain_number_text(best.tokens_per_s_per_gpu, 4) << " output tokens/s/GPU\n";
    head("Options");
    if (markdown) {
      out << "| $/h | 80% band | GPUs | deployment | first token | token | |\n"
             "|---:|---|---:|---|---:|---:|---|\n";
    }
    for (const PlanOption& option : plan.options) {
      const std::string same = option.same_as_best ? "not distinguishable from the cheapest" : "";
      if (markdown) {
        out << "| " << usd_text(option.usd_per_hour) << " | " << usd_text(option.usd_low) << " to "
            << usd_text(option.usd_high) << " | " << option.gpus << " | " << option.cluster << " "
            << choice_name(option.mode);
        for (const PlannedPool& pool : option.pools) {
          out << "; " << pool_text(pool);
        }
        out << " | " << quantity_text(Seconds(option.ttft_s)) << " | "
            << quantity_text(Seconds(option.tpot_s)) << " | " << same << " |\n";
      } else {
        out << item << usd_text(option.usd_per_hour) << "/h (" << usd_text(option.usd_low) << " to "
            << usd_text(option.usd_high) << ")  " << option_text(option)
            << (same.empty() ? "" : "  (" + same + ")") << "\n";
        for (const PlannedPool& pool : option.pools) {
          out << "      " << pool_text(pool) << "\n";
        }
      }
    }
    head("Start the cheapest");
    for (const PoolLaunch& pool : plan.launch) {
      out << item << choice_name(pool.role) << ", " << pool.instances
          << (pool.instances == 1 ? " instance" : " instances") << ":\n";
      for (const EngineLaunch& engine : pool.engines) {
        out << item << (markdown ? "`" : "  ") << engine.command.command << (markdown ? "`" : "")
            << "\n";
      }
      std::set<std::string> notes;
      for (const EngineLaunch& engine : pool.engines) {
        for (const std::string& note : engine.command.notes) {
          if (notes.insert(note).second) {
            out << item << (markdown ? "" : "  ") << launch_tool_name(engine.tool) << ": " << note
                << "\n";
          }
        }
      }
      if (!pool.placement_note.empty()) {
        out << item << (markdown ? "" : "  ") << "placement: " << pool.placement_note << "\n";
      }
    }
    out << item
        << "moesim plan REQUEST --out DIR writes scripts, option files, placements and "
           "scenarios\n";
    head("What breaks first when the load grows");
    for (const Breakage& breakage : plan.breakages) {
      out << item << choice_name(breakage.pool) << ", " << breakage.limit << ": "
          << factor_text(breakage.load_factor) << "\n";
    }
    head("What the cost hangs on");
    for (const TornadoBar& bar : plan.tornado) {
      out << item << bar.name << ": " << usd_text(bar.usd_low) << " at " << bar.low_text << ", "
          << usd_text(bar.usd_high) << " at " << bar.high_text << "\n";
    }
    bool first = true;
    for (std::size_t i = 0; i < plan.confirmations.size(); ++i) {
      for (const Confirmation& one : plan.confirmations[i]) {
        if (first) {
          head("Confirmed by events and requests over time");
          first = false;
        }
        out << item << option_text(plan.options[i]) << ": " << one.what;
        if (!one.unit.empty()) {
          out << " " << quantity_text(one.confirmed, one.unit) << ", planned "
              << quantity_text(one.planned, one.unit);
        }
        out << "\n";
      }
    }
  }
  if (!plan.front.empty()) {
    head("Front: tokens/s/GPU against tokens/s/user");
    for (std::size_t h = 0; h < whole.request.hardware.size(); ++h) {
      for (const ServingMode mode : whole.request.search.modes) {
        std::vector<const FrontPoint*> points;
        for (const FrontPoint& point : plan.front) {
          if (point.cluster == whole.request.hardware[h].cluster && point.mode == mode) {
            points.push_back(&point);
          }
        }
        if (points.empty()) {
          continue;
        }
        out << item << whole.request.hardware[h].cluster << " " << choice_name(mode) << ":";
        const std::size_t step = (points.size() + 5) / 6;
        for (std::size_t i = 0; i < points.size(); i += step) {
          out << (i == 0 ? " " : ", ") << plain_number_text(points[i]->tokens_per_s_per_gpu)
              << " at " << plain_number_text(points[i]->tokens_per_s_per_user) << "/user";
        }
        out << "\n";
      }
    }
  }
  head("Search");
  out << item << count_text(static_cast<double>(plan.evaluated)) << " configurations evaluated\n";
  for (const auto& [reason, count] : plan.left_out) {
    out << item << count << " layouts left out: " << reason << "\n";
  }
}

void write_people(std::ostream& out, const PlanReport& plan, bool markdown) {
  out << (markdown ? "# " : "") << (plan.request.name.empty() ? "Plan" : plan.request.name) << "\n";
  for (const ServicePlan& service : plan.services) {
    write_service(out, service, plan, markdown);
  }
  if (plan.fleet) {
    write_fleet(out, plan, markdown);
  }
  out << "\n" << (markdown ? "## Prices\n\n" : "Prices\n");
  for (std::size_t h = 0; h < plan.prices.size(); ++h) {
    out << (markdown ? "- " : "  ") << plan.request.hardware[h].cluster << " $"
        << plain_number_text(plan.prices[h].usd_per_hour) << "/GPU/h: " << plan.prices[h].source
        << "\n";
  }
}

Json number_or_null(double value) { return std::isfinite(value) ? Json(value) : Json(); }

Json option_json(const PlanOption& option) {
  Json json = Json::object();
  json.set("cluster", option.cluster);
  json.set("mode", choice_name(option.mode));
  json.set("gpus", option.gpus);
  json.set("usd_per_hour", option.usd_per_hour);
  json.set("usd_per_hour_low", number_or_null(option.usd_low));
  json.set("usd_per_hour_high", number_or_null(option.usd_high));
  json.set("ttft_s", option.ttft_s);
  json.set("tpot_s", option.tpot_s);
  json.set("output_tokens_per_s_per_gpu", option.tokens_per_s_per_gpu);
  json.set("tokens_per_s_per_user", option.tokens_per_s_per_user);
  json.set("same_as_best", option.same_as_best);
  Json pools = Json::array();
  for (const PlannedPool& pool : option.pools) {
    Json one = Json::object();
    one.set("role", choice_name(pool.point.role));
    one.set("instances", pool.instances);
    one.set("gpus_per_instance", pool.point.layout.gpus);
    one.set("tensor", pool.point.layout.tensor);
    one.set("overlap", choice_name(pool.point.layout.overlap));
    if (pool.point.role == PoolRole::prefill) {
      one.set("prompts_per_step", pool.point.prompts_per_step);
    } else {
      one.set("batch_per_gpu", pool.point.batch_per_gpu);
    }
    if (pool.point.chunk_tokens > 0) {
      one.set("chunk_tokens", pool.point.chunk_tokens);
    }
    one.set("step_s", pool.point.step_s);
    one.set("slots_needed_fraction", pool.answer.slots_needed);
    one.set("prompt_utilisation_fraction", pool.answer.prompt_use);
    one.set("memory_fraction", pool.point.memory_fraction);
    one.set("scenario", write_object(pool.spec));
    pools.push_back(std::move(one));
  }
  json.set("pools", std::move(pools));
  return json;
}

}  // namespace

std::string pool_text(const PlannedPool& pool) {
  const PoolLayout& layout = pool.point.layout;
  std::string text = choice_name(pool.point.role) + " " + std::to_string(pool.instances) + " x " +
                     std::to_string(layout.gpus) + " GPUs, tensor " +
                     std::to_string(layout.tensor) + ", overlap " + choice_name(layout.overlap);
  if (pool.point.role == PoolRole::prefill) {
    return text + ", " + plain_number_text(pool.point.prompts_per_step) + " prompts a step";
  }
  text += ", up to " + plain_number_text(pool.point.batch_per_gpu) + " sequences/GPU";
  if (pool.point.chunk_tokens > 0) {
    text += ", chunks of " + count_text(pool.point.chunk_tokens);
  }
  return text;
}

Json plan_json(const PlanReport& plan) {
  Json json = Json::object();
  json.set("schema", "moesim/plan/1");
  json.set("version", version_text());
  json.set("request", write_object(plan.request));
  Json prices = Json::array();
  for (std::size_t h = 0; h < plan.prices.size(); ++h) {
    Json one = Json::object();
    one.set("cluster", plan.request.hardware[h].cluster);
    one.set("usd_per_gpu_hour", plan.prices[h].usd_per_hour);
    one.set("source", plan.prices[h].source);
    prices.push_back(std::move(one));
  }
  json.set("prices", std::move(prices));
  Json services = Json::array();
  for (const ServicePlan& service : plan.services) {
    Json one = Json::object();
    one.set("name", service.service.name);
    one.set("model", service.service.model);
    one.set("evaluated", service.evaluated);
    Json options = Json::array();
    for (const PlanOption& option : service.options) {
      options.push_back(option_json(option));
    }
    one.set("options", std::move(options));
    Json launch = Json::array();
    for (const PoolLaunch& pool : service.launch) {
      Json entry = Json::object();
      entry.set("role", choice_name(pool.role));
      entry.set("instances", pool.instances);
      for (const EngineLaunch& engine : pool.engines) {
        Json line = Json::object();
        line.set("command", engine.command.command);
        Json files = Json::object();
        for (const auto& [file, text] : engine.command.files) {
          files.set(file, text);
        }
        line.set("files", std::move(files));
        Json notes = Json::array();
        for (const std::string& note : engine.command.notes) {
          notes.push_back(note);
        }
        line.set("notes", std::move(notes));
        entry.set(std::string(launch_tool_name(engine.tool)), std::move(line));
      }
      if (!pool.placement_note.empty()) {
        entry.set("placement", pool.placement_note);
      }
      launch.push_back(std::move(entry));
    }
    one.set("launch", std::move(launch));
    Json front = Json::array();
    for (const FrontPoint& point : service.front) {
      Json entry = Json::object();
      entry.set("cluster", point.cluster);
      entry.set("mode", choice_name(point.mode));
      entry.set("gpus_per_instance", point.layout.gpus);
      entry.set("tensor", point.layout.tensor);
      entry.set("overlap", choice_name(point.layout.overlap));
      entry.set("batch_per_gpu", point.batch_per_gpu);
      entry.set("tokens_per_s_per_gpu", point.tokens_per_s_per_gpu);
      entry.set("tokens_per_s_per_gpu_low", point.low);
      entry.set("tokens_per_s_per_gpu_high", point.high);
      entry.set("tokens_per_s_per_user", point.tokens_per_s_per_user);
      front.push_back(std::move(entry));
    }
    one.set("front", std::move(front));
    Json tornado = Json::array();
    for (const TornadoBar& bar : service.tornado) {
      Json entry = Json::object();
      entry.set("name", bar.name);
      entry.set("low", bar.low_text);
      entry.set("usd_per_hour_at_low", number_or_null(bar.usd_low));
      entry.set("high", bar.high_text);
      entry.set("usd_per_hour_at_high", number_or_null(bar.usd_high));
      tornado.push_back(std::move(entry));
    }
    one.set("sensitivities", std::move(tornado));
    Json breakages = Json::array();
    for (const Breakage& breakage : service.breakages) {
      Json entry = Json::object();
      entry.set("pool", choice_name(breakage.pool));
      entry.set("limit", breakage.limit);
      entry.set("load_factor", number_or_null(breakage.load_factor));
      breakages.push_back(std::move(entry));
    }
    one.set("breaks_at", std::move(breakages));
    Json confirmations = Json::array();
    for (std::size_t i = 0; i < service.confirmations.size(); ++i) {
      for (const Confirmation& confirmation : service.confirmations[i]) {
        Json entry = Json::object();
        entry.set("option", static_cast<std::int64_t>(i));
        entry.set("what", confirmation.what);
        if (!confirmation.unit.empty()) {
          entry.set("unit", confirmation.unit);
          entry.set("planned", confirmation.planned);
          entry.set("confirmed", confirmation.confirmed);
        }
        confirmations.push_back(std::move(entry));
      }
    }
    one.set("confirmations", std::move(confirmations));
    Json left_out = Json::object();
    for (const auto& [reason, count] : service.left_out) {
      left_out.set(reason, count);
    }
    one.set("left_out", std::move(left_out));
    services.push_back(std::move(one));
  }
  json.set("services", std::move(services));
  if (plan.fleet) {
    json.set("fleet", fleet_json(plan));
  }
  return json;
}

namespace {

std::string plan_csv(const PlanReport& plan) {
  std::string csv =
      "service,cluster,mode,gpus,usd_per_hour,usd_per_hour_low,usd_per_hour_high,ttft_s,tpot_s,"
      "output_tokens_per_s_per_gpu,tokens_per_s_per_user,same_as_best,pools\n";
  const auto number = [](double value) { return std::isfinite(value) ? number_text(value) : ""; };
  for (const ServicePlan& service : plan.services) {
    for (const PlanOption& option : service.options) {
      std::string pools;
      for (const PlannedPool& pool : option.pools) {
        pools += (pools.empty() ? "" : "; ") + pool_text(pool);
      }
      csv += csv_field(service.service.name) + "," + csv_field(option.cluster) + "," +
             choice_name(option.mode) + "," + std::to_string(option.gpus) + "," +
             number(option.usd_per_hour) + "," + number(option.usd_low) + "," +
             number(option.usd_high) + "," + number(option.ttft_s) + "," + number(option.tpot_s) +
             "," + number(option.tokens_per_s_per_gpu) + "," +
             number(option.tokens_per_s_per_user) + "," + (option.same_as_best ? "1" : "0") + "," +
             csv_field(pools) + "\n";
    }
  }
  return csv;
}

}  // namespace

void write_plan(std::ostream& out, const PlanReport& plan, SweepFormat format) {
  switch (format) {
    case SweepFormat::text:
      write_people(out, plan, false);
      break;
    case SweepFormat::markdown:
      write_people(out, plan, true);
      break;
    case SweepFormat::json:
      out << plan_json(plan).dump() << "\n";
      break;
    case SweepFormat::csv:
      out << plan_csv(plan);
      break;
  }
}

}  // namespace moesim
