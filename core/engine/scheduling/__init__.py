"""Bookkeeping of requests, blocks and features; plain Python."""
