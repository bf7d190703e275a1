"""Batches of requests: their files, their lines and what came of each, on the disk."""
