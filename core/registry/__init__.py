"""Finds plugins and what they bring."""
