"""Automatic deployment: the passes in order, checked against what transformers answers."""
