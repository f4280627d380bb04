trtllm-serve deepseek-ai/DeepSeek-R1 --tp_size 8 --extra_llm_api_options nowhere.yml
