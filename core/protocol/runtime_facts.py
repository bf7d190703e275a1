"""What a loaded model runs on: told, and of no further effect."""

from __future__ import annotations

import msgspec


class UsedKernel(msgspec.Struct, frozen=True):
    """Implementation that runs an operation, with its variant if it has several; see KernelChoice.
    why: it was chosen."""

    op: str
    kernel: str
    why: str


class WeightGroup(msgspec.Struct, frozen=True):
    """Weights of one kind that are stored alike. layers: their modules' names, with * for numbers.
    format: such as "int8". bytes: with scales and biases, before they are packed for kernels."""

    layers: str
    format: str
    count: int
    bytes: int


class RuntimeFacts(msgspec.Struct, frozen=True):
    """dtype: of activations. kv_cache_dtype: of keys and values, None for a model that keeps none.
    quantization: method by which weights are small, the checkpoint's, or the method or the rules
    that were asked for.
    kernels: none for a model that another library runs. weights: of a model that is quantised."""

    device: str = ""
    dtype: str = ""
    kv_cache_dtype: str | None = None
    quantization: str | None = None
    kernels: list[UsedKernel] = []
    weights: list[WeightGroup] = []
