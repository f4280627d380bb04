#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# window_test.sh PROGRAM: the real window on a display of its own (Xvfb), driven by xdotool: keys must change its pixels.
# Ends with 77 (skipped) where Xvfb or xdotool is missing.
set -euo pipefail
program="$1"
for tool in Xvfb xdotool; do
  if ! command -v "$tool" >/dev/null; then
    echo "skipped: $tool is not installed"
    exit 77
  fi
done
folder="$(mktemp -d)"
Xvfb -displayfd 3 -screen 0 1400x900x24 -nolisten tcp -fbdir "$folder" 3>"$folder/display" 2>"$folder/xvfb.log" &
server=$!
trap 'kill ${window:-} $server 2>/dev/null || true; rm -rf "$folder"' EXIT
for _ in $(seq 100); do
  [ -s "$folder/display" ] && break
  sleep 0.1
done
export DISPLAY=":$(cat "$folder/display")"
export XDG_CONFIG_HOME="$folder" XDG_DATA_HOME="$folder"
QT_QPA_PLATFORM=xcb "$program" --no-restore quickstart 2>"$folder/gui.log" &
window=$!
id=""
for _ in $(seq 600); do
  id="$(xdotool search --onlyvisible --pid "$window" --name moesim 2>/dev/null | head -n 1 || true)"
  [ -n "$id" ] && break
  kill -0 "$window" 2>/dev/null || { echo "the window did not start"; cat "$folder/gui.log"; exit 1; }
  sleep 0.1
done
[ -n "$id" ] || { echo "no window appeared"; exit 1; }
picture() { md5sum <"$folder/Xvfb_screen0" | cut -d' ' -f1; }  # the screen itself, mapped into a file
# Waits until the picture stays the same for a second, then prints it.
settled() {
  local before now
  before="$(picture)"
  for _ in $(seq 120); do
    sleep 1
    now="$(picture)"
    [ "$now" = "$before" ] && break
    before="$now"
  done
  echo "$before"
}
changes() {
  local name="$1" before after
  shift
  before="$(settled)"
  "$@"
  after="$before"
  for _ in $(seq 300); do
    after="$(picture)"
    [ "$after" != "$before" ] && break
    sleep 0.1
  done
  if [ "$after" = "$before" ]; then
    echo "$name changed no pixel"
    exit 1
  fi
  echo "$name: ok"
}
xdotool windowfocus --sync "$id" 2>/dev/null || true
changes "the memory page by Alt+8" xdotool key alt+8
changes "the table twin by Ctrl+T" xdotool key ctrl+t
changes "dark colours by Ctrl+D" xdotool key ctrl+d
# A drag over the form's first sliders.
drag() {
  xdotool mousemove --window "$id" 80 270 mousedown 1
  for x in 90 110 130 150; do
    xdotool mousemove --window "$id" "$x" 270
    sleep 0.05
  done
  xdotool mouseup 1
}
changes "a drag in the form" drag
kill -0 "$window" || { echo "the window ended"; exit 1; }
