"""The OpenAI-style HTTP API."""
