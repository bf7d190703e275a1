"""What a model keeps for each token, seen by running it once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..contracts.interfaces import KVCacheSpec
from ..protocol.config import ConfigError
from .attention_interface import running


@dataclass
class _Recorder:
    """An attention step that attends to nothing and notes (kv heads, head dim) of each layer."""

    shapes: dict[int, tuple[int, int]] = field(default_factory=dict)

    def attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scale: float,
        window: int,
        softcap: float,
    ) -> Tensor:
        """See AttentionStep."""
        if layer in self.shapes:
            raise ValueError(f"layer {layer} attends twice")
        self.shapes[layer] = (key.shape[1], max(key.shape[2], value.shape[2]))
        return query.new_zeros(*query.shape[:2], value.shape[2])


def run_once(decoder: Any, hidden_size: int) -> dict[int, tuple[int, int]]:
    """Run a decoder, whose attention is IMPLEMENTATION, on two tokens that attend to nothing;
    weights may be meta. Returns the key and value heads of each layer and their width."""
    recorder = _Recorder()
    weight = next(decoder.parameters())
    embeds = torch.zeros(1, 2, hidden_size, dtype=weight.dtype, device=weight.device)
    positions = torch.arange(2, device=weight.device)[None]
    with running(recorder), torch.no_grad():
        decoder(inputs_embeds=embeds, position_ids=positions, use_cache=False)
    return recorder.shapes


def record_kv_cache_spec(decoder: Any, hidden_size: int, name: str) -> KVCacheSpec:
    """What a decoder keeps; see run_once.

    Raises ConfigError if its layers don't all keep keys and values, or not alike.
    """
    shapes = run_once(decoder, hidden_size)
    if not shapes:
        raise ConfigError(
            f"{name}: automatic deployment needs a model whose attention transformers can "
            f"exchange; {type(decoder).__name__} is none"
        )
    if sorted(shapes) != list(range(len(shapes))) or len(set(shapes.values())) > 1:
        raise ConfigError(
            f"{name}: the layers of {type(decoder).__name__} don't all keep the same keys and "
            f"values; (heads, width) by layer: {shapes}"
        )
    return KVCacheSpec(len(shapes), *shapes[0])
