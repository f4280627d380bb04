#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Records today's predictions of the shipped scenarios in tests/golden. Say in the commit which moved, and why.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cmake --preset release > /dev/null
cmake --build --preset release --target golden_test > /dev/null
mkdir -p tests/golden
MOESIM_UPDATE_GOLDEN=1 build/release/golden_test --gtest_brief=1
git --no-pager diff --stat -- tests/golden
