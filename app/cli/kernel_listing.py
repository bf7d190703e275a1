"""Says which implementation of each operation would run on this machine."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ...core.device.device import choose_device
from ...core.models.loader import choose_kernels
from ...core.registry.registry import get_registry


def list_kernels(device_name: str, dtype_name: str) -> Iterator[str]:
    """A line for each operation: its name, the implementation, with its variant if it has several,
    and why it was chosen; then what was measured on this machine and chosen by it.

    Raises ConfigError for an override in the environment that can't be followed."""
    device = choose_device(device_name)
    table = choose_kernels(get_registry(), device, getattr(torch, dtype_name))
    yield f"{device.type}, {dtype_name}"
    op_width = max(len(choice.op) for choice in table.choices)
    name_width = max(len(choice.name) for choice in table.choices)
    for choice in table.choices:
        yield f"{choice.op:{op_width}}  {choice.name:{name_width}}  {choice.why}"
    yield from dict.fromkeys(line for choice in table.choices for line in choice.tuning)
