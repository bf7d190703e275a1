"""Fewer bits for the weights of linear layers."""
