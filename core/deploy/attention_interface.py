"""transformers' attention, handed to whoever runs the step: the paged kernel, or a recorder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from torch import Tensor, nn
from transformers import AttentionInterface

#: The name under which transformers knows this. It has no mask function, so that none is built.
IMPLEMENTATION = "octavo_paged"

#: Arguments of an attention function that the paged kernel can't follow.
_UNSUPPORTED = {"s_aux": "attention sinks", "position_bias": "position biases"}


class AttentionStep(Protocol):
    """What the attention layers of one forward do."""

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
        """query: [num_tokens, num_heads, head_dim]; key and value with num_kv_heads; window and
        softcap as in `kernels.ops.PagedAttention`. Returns the shape of query, with the last
        dimension of value."""
        ...


# Not every model hands its arguments on to its attention, so that the step goes beside them.
_current: ContextVar[AttentionStep] = ContextVar("octavo_attention_step")


@contextmanager
def running(step: AttentionStep) -> Iterator[None]:
    """Within it, attention layers that use IMPLEMENTATION do what the step says."""
    token = _current.set(step)
    try:
        yield
    finally:
        _current.reset(token)


def _attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """transformers' signature: query [1, num_heads, num_tokens, head_dim], and alike.

    Raises ValueError for a kind of attention that the paged kernel doesn't have.
    """
    for name, meaning in _UNSUPPORTED.items():
        if options.get(name) is not None:
            raise ValueError(f"its attention has {meaning}, which the paged kernel has not")
    layer: Any = getattr(module, "layer_idx", None)
    if layer is None:
        raise ValueError("its attention layers don't say which they are")
    query, key, value = (x[0].transpose(0, 1).contiguous() for x in (query, key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    window = window_of(module, layer, sliding_window)
    attended = _current.get().attend(layer, query, key, value, scale, window, softcap or 0.0)
    return attended[None], None


def window_of(module: nn.Module, layer: int, sliding_window: int | None) -> int:
    """How many positions a layer sees; 0 is all. Raises ValueError if it doesn't say."""
    if not sliding_window and _is_sliding(module, layer):
        raise ValueError(f"layer {layer} has a sliding window and doesn't say how long")
    return sliding_window or 0


def _is_sliding(module: nn.Module, layer: int) -> bool:
    kinds: Any = getattr(getattr(module, "config", None), "layer_types", None) or ()
    return layer < len(kinds) and kinds[layer] == "sliding_attention"


AttentionInterface.register(IMPLEMENTATION, _attention_forward)
