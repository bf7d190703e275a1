"""Typed tensor operations and the implementations that the dispatcher chooses among."""
