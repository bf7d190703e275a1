"""Checkpoints on disk: which files, and what their configs say."""
