#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds the release preset if needed, then runs `moesim ARGS...`.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/cmake/install_packages.sh"

if [ "${1:-}" = gui ]; then
  targets=(moesim moesim-gui)
  folders=("$here/sim" "$here/gui")
  packages=("${moesim_gui_packages[@]}")
else
  targets=(moesim)
  folders=("$here/sim")
  packages=()
fi
last="${targets[-1]}"
log="$here/build/moesim_build.log"
mkdir -p "$here/build"
needs_build() {
  [ ! -x "$here/build/release/$last" ] && return 0
  [ -n "$(find "${folders[@]}" "$here/CMakeLists.txt" "$here/cmake" -newer "$here/build/release/$last" \
          \( -name '*.h' -o -name '*.cpp' -o -name 'CMakeLists.txt' -o -name '*.cmake' \) -print -quit)" ]
}
if needs_build; then
  install_packages "${packages[@]}"
  echo "moesim.sh: building (a few minutes the first time; log in build/moesim_build.log)" >&2
  if ! { cd "$here" && cmake --preset release && cmake --build --preset release --target "${targets[@]}"; } > "$log" 2>&1; then
    tail -n 30 "$log" >&2
    echo "moesim.sh: the build failed; the whole log is build/moesim_build.log" >&2
    exit 1
  fi
  touch "$here/build/release/$last"
fi
exec "$here/build/release/moesim" "$@"
