"""The offline classes."""
