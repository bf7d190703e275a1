"""From hidden states to logits, as the model itself does it."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPast


class OutputHead:
    """A causal language model whose trunk has been taken out: what is left, its output layer with
    any scales and caps, is run by the model's own code.

    model: a transformers model for causal language modelling; it stays as it is.
    """

    def __init__(self, model: Any) -> None:
        # Copied without its tensors, so that the original keeps its trunk.
        self._model: Any = copy.copy(model)
        self._model._modules = dict(model._modules)
        self._model._modules[_trunk_name(model)] = _NoTrunk()

    def __call__(self, hidden: Tensor) -> Tensor:
        """[num_rows, hidden_size] -> [num_rows, vocab_size]."""
        logits: Tensor = self._model(inputs_embeds=hidden[None], use_cache=False).logits
        return logits[0]


def _trunk_name(model: Any) -> str:
    """The child that is the decoder, or has it inside. Raises ValueError if none is."""
    decoder = model.get_decoder()
    children: dict[str, nn.Module] = dict(model.named_children())
    for name, child in children.items():
        if decoder in set(child.modules()):
            return name
    raise ValueError(f"{type(model).__name__} doesn't say which part of it is the decoder")


class _NoTrunk(nn.Module):
    """Answers with what it is given."""

    @property
    def decoder(self) -> _NoTrunk:
        """Some models reach through their trunk."""
        return self

    def forward(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> BaseModelOutputWithPast:
        return _Output(last_hidden_state=inputs_embeds)


class _Output(BaseModelOutputWithPast):
    """Whatever else a model's output may have is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)
        return None
