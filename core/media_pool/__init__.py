"""Processes that read images, so that a bad one costs its own request and nothing else."""
