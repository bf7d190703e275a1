"""Keeps answers to grammars: compiled beside the steps, masked beside the forward."""
