"""Building blocks of models: modules whose parameter names follow Hugging Face checkpoints."""
