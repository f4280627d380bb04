# SPDX-License-Identifier: Apache-2.0
# One interface target with the options that every target of this project uses.
#
# -ffp-contract=off: a fused multiply-add rounds once instead of twice, so whether the compiler fuses would change results
# between machines; the same bytes for the same input is a promise of the product.
add_library(moesim_options INTERFACE)
target_include_directories(moesim_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(moesim_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Wno-missing-field-initializers -Werror -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 warns about its own inlined std::string code (GCC bugs 105329 and 105651).
  target_compile_options(moesim_options INTERFACE -Wno-restrict -Wno-maybe-uninitialized)
endif()
if(MOESIM_SANITIZE)
  target_compile_options(moesim_options INTERFACE
    -fsanitize=${MOESIM_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(moesim_options INTERFACE -fsanitize=${MOESIM_SANITIZE})
endif()

# A compiler cache makes rebuilds of several checkouts cheap; nothing depends on it.
find_program(MOESIM_CCACHE ccache)
if(MOESIM_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${MOESIM_CCACHE})
endif()
