"""Compares Octavo with transformers on the same checkpoint."""
