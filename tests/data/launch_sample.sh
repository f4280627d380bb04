#!/bin/bash
TP=8
cat > config.yaml << EOF
no-enable-prefix-caching: true
max-cudagraph-capture-size: 2048
max-num-batched-tokens: 8192
tensor-parallel-size: $TP
EOF
export VLLM_X=1
CUDA_VISIBLE_DEVICES=0 vllm serve openai/gpt-oss-120b --host=0.0.0.0 --port=$PORT \
  --config config.yaml --gpu-memory-utilization=0.9 --max-num-seqs=64 \
  --made-up-flag 3 --enable-eplb > log 2>&1 &
