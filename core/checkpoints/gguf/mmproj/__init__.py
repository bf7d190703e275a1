"""Vision projector files: the tower and the projector beside a language model's GGUF file."""
