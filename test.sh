#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds and runs every test. Extra arguments go to ctest (release build).
# Stages: format, release build and tests (fuzzing included), sanitizer build and its tests. What CI runs and what you run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source cmake/install_packages.sh
install_packages "${moesim_gui_packages[@]}" "${moesim_check_packages[@]}"

stage() { printf '\n== %s (%s)\n' "$1" "$(date +%T)"; }

stage "format"
git ls-files '*.h' '*.cpp' '*.cu' 2>/dev/null | xargs -r clang-format --dry-run --Werror

stage "release build"
mkdir -p build
build() {
  cmake --preset "$@" > "build/$1.configure.log" 2>&1 || { tail -n 40 "build/$1.configure.log"; exit 1; }
  grep -E '^-- moesim:' "build/$1.configure.log" || true
  cmake --build --preset "$1" > "build/$1.build.log" 2>&1 ||
    { grep -E 'error|FAILED|undefined' -A5 "build/$1.build.log" | head -n 60; exit 1; }
}
build release -DMOESIM_FUZZ=ON

stage "release tests"
# The compile matrix of the GPU kernels takes a quarter of an hour where nvcc is installed: ctest --preset release -L compile
ctest --preset release -LE compile "$@"

stage "sanitizer build"
build asan

stage "sanitizer tests"
ASAN_OPTIONS=detect_stack_use_after_return=0 ctest --preset asan

stage "done"
