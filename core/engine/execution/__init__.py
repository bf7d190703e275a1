"""The tensors of a step: batch, model, sampling."""
