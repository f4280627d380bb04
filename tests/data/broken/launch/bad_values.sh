vllm serve openai/gpt-oss-120b --tensor-parallel-size two --gpu-memory-utilization 1.5 --max-num-seqs --dtype
