"""Modules without storage: the meta device, and none of the work of giving weights first values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


@contextmanager
def meta_device() -> Iterator[None]:
    """What is made here has shapes only. First values are not drawn: torch would import its
    compiler for drawing on this device, which takes a second."""
    with torch.device("meta"), _NoInitialization():
        yield


class _NoInitialization(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if getattr(func, "__module__", None) == torch.nn.init.__name__ and (
            args or "tensor" in given
        ):
            return args[0] if args else given["tensor"]
        return func(*args, **given)
