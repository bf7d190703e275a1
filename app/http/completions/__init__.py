"""POST /v1/completions: prompts without a chat."""
