"""Ollama's API, under /api: the answers of chats, completions and embeddings in another shape."""
