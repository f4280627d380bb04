vllm serve acme/Nobody-7B --tensor-parallel-size 2
