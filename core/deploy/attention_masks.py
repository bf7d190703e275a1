"""Which positions each layer of a transformers model sees, held against what the kernel does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from ..protocol.config import ConfigError
from .attention_interface import IMPLEMENTATION, window_of

_PROBE = "octavo_mask_probe"
_NUM_TOKENS = 2
#: Positions that are looked at: those around every size that the config names, and around powers
#: of two, up to this one.
_FARTHEST = 1 << 17

#: transformers' (batch, head, query position, key position) -> whether the key is seen.
_MaskFunction = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass
class _Probe:
    """made: the masks that were asked for, which are told apart by their tensor; used: for each
    layer the mask that it was given, if any, and the window that it names."""

    made: list[tuple[Tensor, _MaskFunction]] = field(default_factory=list)
    used: dict[int, tuple[_MaskFunction | None, int]] = field(default_factory=dict)

    def function_of(self, mask: object) -> _MaskFunction | None:
        """The function behind a mask; None for none, or one that the model made itself."""
        return next((function for made, function in self.made if made is mask), None)


_current: ContextVar[_Probe] = ContextVar("octavo_mask_probe")


def check_masks(decoder: Any, hidden_size: int, name: str) -> None:
    """Raises ConfigError if a layer of a decoder, whose attention is IMPLEMENTATION, sees other
    positions than all before it or a sliding window of them: at any distance, as the masks are
    functions of positions. Masks that a model makes in its own way are not seen."""
    probe = _Probe()
    weight = next(decoder.parameters())
    embeds = torch.zeros(1, _NUM_TOKENS, hidden_size, dtype=weight.dtype, device=weight.device)
    positions = torch.arange(_NUM_TOKENS, device=weight.device)[None]
    with _probing(decoder, probe), torch.no_grad():
        decoder(inputs_embeds=embeds, position_ids=positions, use_cache=False)
    config = decoder.config
    kinds = getattr(config, "layer_types", None) or ()
    queries = _query_positions(config)
    checked: set[tuple[int, int]] = set()
    for layer, (function, window) in sorted(probe.used.items()):
        if function is None or (id(function), window) in checked:
            continue
        checked.add((id(function), window))
        sees = partial(_sees_as_kernel, function, window, device=weight.device)
        wrong = next((query for query in queries if not sees(query)), None)
        if wrong is not None:
            kind = f", {kinds[layer]}," if layer < len(kinds) else ""
            raise ConfigError(
                f"{name}: layer {layer}{kind} sees at position {wrong} neither all before it nor a "
                "sliding window, which the paged kernel can't do"
            )


@contextmanager
def _probing(decoder: nn.Module, probe: _Probe) -> Iterator[None]:
    configs: list[Any] = [m.config for m in decoder.modules() if hasattr(m, "config")]
    token = _current.set(probe)
    for config in configs:
        config._attn_implementation = _PROBE
    try:
        yield
    finally:
        _current.reset(token)
        for config in configs:
            config._attn_implementation = IMPLEMENTATION


def _query_positions(config: Any) -> list[int]:
    limit = min(config.max_position_embeddings, _FARTHEST)
    named = {value for value in config.to_dict().values() if isinstance(value, int)}
    sizes = named | {1 << power for power in range(_FARTHEST.bit_length())}
    around = {
        multiple * size + step for size in sizes for multiple in (1, 2) for step in (-1, 0, 1)
    }
    return sorted(position for position in around if 0 <= position < limit)


def _sees_as_kernel(function: _MaskFunction, window: int, query: int, device: torch.device) -> bool:
    zero, queries = (torch.tensor(value, device=device) for value in (0, query))
    keys = torch.arange(query + 2, device=device)
    expected = keys <= queries
    if window:
        expected &= keys > queries - window
    return torch.equal(function(zero, zero, queries, keys).expand_as(keys), expected)


def _note_mask(
    q_length: int,
    kv_length: int,
    mask_function: _MaskFunction,
    device: torch.device | None = None,
    **_: Any,
) -> Tensor:
    """transformers' signature for what makes a mask: [batch, 1, q_length, kv_length]."""
    mask = torch.ones(1, 1, q_length, kv_length, dtype=torch.bool, device=device)
    _current.get().made.append((mask, mask_function))
    return mask


def _note_use(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """transformers' signature for attention; it attends to nothing."""
    probe, layer = _current.get(), int(getattr(module, "layer_idx", -1))
    window = window_of(module, layer, sliding_window)
    probe.used[layer] = (probe.function_of(attention_mask), window)
    return value.new_zeros(1, query.shape[2], query.shape[1], value.shape[3]), None


AttentionInterface.register(_PROBE, _note_use)
AttentionMaskInterface.register(_PROBE, _note_mask)
