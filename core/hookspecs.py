"""The pluggy hooks. A plugin implements those it needs; none of them may import torch."""

from __future__ import annotations

from collections.abc import Callable

import pluggy

from .contracts import EncoderSpec, KernelSpec, ModelSpec, QuantSpec

PROJECT_NAME = "octavo"

hookspec = pluggy.HookspecMarker(PROJECT_NAME)
hookimpl = pluggy.HookimplMarker(PROJECT_NAME)


@hookspec
def octavo_register_models(register: Callable[[ModelSpec], None]) -> None:
    """Call `register` with each model architecture."""


@hookspec
def octavo_register_encoders(register: Callable[[EncoderSpec], None]) -> None:
    """Call `register` with each vision encoder."""


@hookspec
def octavo_register_quant(register: Callable[[QuantSpec], None]) -> None:
    """Call `register` with each quantisation method."""


@hookspec
def octavo_register_kernels(register: Callable[[KernelSpec], None]) -> None:
    """Call `register` with each kernel implementation."""
