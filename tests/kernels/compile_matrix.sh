#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# compile_matrix.sh ROW: compiles every kernel for one device; exit code 77 (skipped) says which compiler is absent.
# Rows: nvcc sm_80 | nvcc sm_90a | hip gfx90a | hip gfx942. For nvcc, ptxas must report neither spills nor a stack frame in the
# gate, permute and copy kernels. The hip rows take hipcc, else clang with the HIP headers; a compiler that does not know the
# device is skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."
compiler=$1 device=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kernels=(attention_decode gemm grouped_gemm kernel_table memory_copy router_gate token_permute vendor_gemm)
devices_only=(gpu_device collective_vendor)
skip() { echo "skipped: $1"; exit 77; }

if [ "$compiler" = nvcc ]; then
  nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null || true)
  [ -n "$nvcc" ] || skip "nvcc is absent"
  for name in "${kernels[@]}" "${devices_only[@]}" hopper_gemm; do
    "$nvcc" -std=c++20 -I. -O3 -DMOESIM_HAVE_CUDA=1 -arch="$device" -Xptxas -v -c "kernels/$name.cu" -o "$work/x.o" > "$work/log" 2>&1 ||
      { cat "$work/log"; exit 1; }
    case $name in
      router_gate | token_permute | memory_copy)
        [ "$(grep -c 'bytes stack frame' "$work/log")" -gt 0 ] || { echo "$name: ptxas reported nothing"; exit 1; }
        if grep 'bytes stack frame' "$work/log" | grep -qv ' 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads'; then
          cat "$work/log"; echo "$name spills on $device"; exit 1
        fi ;;
    esac
    echo "$name $device: ok"
  done
  exit 0
fi

# hipcc first; a device that it is too old for is compiled by a newer clang with the same headers and those parts of ROCm's device
# library that are the same for every device.
flags=(-x hip -std=c++20 -I. -O3 -DMOESIM_HAVE_HIP=1 --offload-arch="$device" --cuda-device-only -S)
root=${ROCM_PATH:-/opt/rocm}
[ -f "$root/include/hip/hip_runtime.h" ] || root=/usr
[ -f "$root/include/hip/hip_runtime.h" ] || skip "the HIP headers are absent"
include=
[ "$root" = /usr ] || include="-isystem $root/include"
bitcode=
for part in ockl ocml; do
  file=$(find -L "$root/amdgcn" "$root/lib" -name $part.bc 2>/dev/null | head -1 || true)
  [ -z "$file" ] || bitcode="$bitcode -Xclang -mlink-builtin-bitcode -Xclang $file"
done
compilers=()
command -v hipcc > /dev/null && compilers+=("hipcc")
for version in 19 20 18 17; do
  command -v clang++-$version > /dev/null && compilers+=("clang++-$version --rocm-path=$root $include -nogpulib$bitcode")
done
[ "${#compilers[@]}" -gt 0 ] || skip "hipcc and clang are absent"
echo '#include <hip/hip_runtime.h>' > "$work/probe.hip"
hip=()
for candidate in "${compilers[@]}"; do
  read -ra words <<< "$candidate"
  if "${words[@]}" "${flags[@]}" "$work/probe.hip" -o "$work/probe.s" > "$work/log" 2>&1; then
    hip=("${words[@]}" "${flags[@]}")
    echo "$device: ${words[0]}"
    break
  fi
done
if [ "${#hip[@]}" -eq 0 ]; then
  grep -qE 'invalid target ID|unsupported|unknown target|cannot find .*(gfx|device library)' "$work/log" && skip "no compiler here knows $device"
  cat "$work/log"; exit 1
fi
for name in "${kernels[@]}" "${devices_only[@]}"; do
  "${hip[@]}" "kernels/$name.cu" -o "$work/x.s" > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }
  case $name in
    router_gate | token_permute | memory_copy)
      grep -q '\.vgpr_spill_count' "$work/x.s" || { echo "$name: no kernel in the output"; exit 1; }
      if grep -E '\.(vgpr_spill_count|private_segment_fixed_size):' "$work/x.s" | grep -qv ': *0$'; then
        echo "$name spills on $device"; exit 1
      fi ;;
  esac
  echo "$name $device: ok"
done
