"""What a checkpoint's weights take in memory once they are loaded, by the headers of its files;
imports no torch."""

from __future__ import annotations

from math import prod

from ..checkpoints.checkpoint import Checkpoint, named_dtype
from ..contracts.specs import JsonDict, StoredTensor, load_object
from ..device.dtype_choice import choose_dtype_name
from ..protocol.config import EngineConfig
from ..registry.registry import Registry

_FLOATS = ("F64", "F32", "F16", "BF16")
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
#: Weights of which a quantisation method that is asked for leaves four bits at least.
_MATRIX, _FEWEST_BITS = 2, 4


def held_bytes(
    config: EngineConfig, described: JsonDict, checkpoint: Checkpoint, registry: Registry
) -> int:
    """The least that they take on a CPU, besides what kernels add: scales and zeros in wider
    floats, and a copy of a table of embeddings that is the output head too. described: the
    checkpoint's config, completed or not. Raises ConfigError for files that are missing or damaged.

    Floats take as much as those that the model computes in, or as they are stored in if that is
    less, as the kernels keep weights in bfloat16 that lose nothing by it.
    """
    named = named_dtype(described)
    computed = _BYTES[choose_dtype_name(config.dtype, named, is_cpu=True)]
    tensors = checkpoint.stored_tensors()
    if config.quantization is not None:
        return sum(_quantised(tensor, computed) for tensor in tensors.values())
    held = {name: _plain(tensor, computed) for name, tensor in tensors.items()}
    settings = described.get("quantization_config") or {}
    method = settings.get("quant_method")
    other_sizes = None if method is None else registry.quant_by_name(method).held
    if other_sizes is not None:
        float_bytes = min(computed, _BYTES.get(named or "", computed))
        held.update(load_object(other_sizes)(settings, tensors, float_bytes))
    return sum(held.values())


def _plain(tensor: StoredTensor, float_bytes: int) -> int:
    if tensor.dtype not in _FLOATS:
        return tensor.nbytes
    return min(tensor.nbytes, prod(tensor.shape) * float_bytes)


def _quantised(tensor: StoredTensor, float_bytes: int) -> int:
    if len(tensor.shape) < _MATRIX:
        return _plain(tensor, float_bytes)
    return prod(tensor.shape) * _FEWEST_BITS // 8
