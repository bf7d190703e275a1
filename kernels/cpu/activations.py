"""Activation codes by the names in Hugging Face configs; src/elementwise.h: Activation."""

ACTIVATIONS = {"silu": 0, "gelu_pytorch_tanh": 1, "gelu": 2, "quick_gelu": 3, "relu": 4}
