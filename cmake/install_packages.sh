# SPDX-License-Identifier: Apache-2.0
# Sourced by moesim.sh and test.sh: the Debian packages that building and testing need, installed when missing.

moesim_build_packages=(
  g++ cmake ninja-build libboost-dev libboost-graph-dev libboost-context-dev nlohmann-json3-dev libcli11-dev libtbb-dev
  zlib1g-dev libsqlite3-dev node-chart.js libgtest-dev libgmock-dev libbenchmark-dev libeigen3-dev libnlopt-dev libnlopt-cxx-dev
)
# The desktop explorer, which is optional: only moesim.sh gui and test.sh install them.
moesim_gui_packages=(qt6-base-dev qt6-svg-dev libqcustomplot-dev)
# Checks on the code itself; the tests that need one skip with a reason when it cannot be had.
moesim_check_packages=(clang-format clang-16 libclang-rt-16-dev clang-tidy-16 xvfb xdotool)

# install_packages [EXTRA...]: installs what is missing; without root and sudo prints the line to type and exits 2.
install_packages() {
  local missing=() name
  for name in "${moesim_build_packages[@]}" "$@"; do
    dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  local run=()
  if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
      run=(sudo)
    else
      echo "missing packages; type this, then try again:" >&2
      echo "  sudo apt-get install ${missing[*]}" >&2
      exit 2
    fi
  fi
  echo "installing: ${missing[*]}" >&2
  DEBIAN_FRONTEND=noninteractive "${run[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 ||
    { "${run[@]}" apt-get update -qq >&2 &&
      DEBIAN_FRONTEND=noninteractive "${run[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; } ||
    { echo "could not install: ${missing[*]}" >&2; exit 2; }
}
