"""What the machine and the architecture imply for the engine's settings, and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch

from ...kernels.dispatch import KernelTable
from ...kernels.dtypes import dtype_name
from ...kernels.processor import has_bf16
from ..checkpoints.checkpoint import Checkpoint
from ..contracts.interfaces import KVCacheSpec
from ..device.device import (
    available_memory,
    choose_device,
    choose_kv_cache_dtype,
)
from ..device.memory_plan import MemoryPlan, plan_memory
from ..protocol.config import EngineConfig

_MIB = 2**20


@dataclass(frozen=True)
class Setting:
    """One choice. why: in words, for the operator."""

    name: str
    value: str
    why: str


def explain_settings(
    config: EngineConfig,
    checkpoint: Checkpoint,
    dtype: torch.dtype,
    kernels: KernelTable,
    kv_cache_spec: KVCacheSpec,
    model_limit: int,
    weight_bytes: int,
) -> list[Setting]:
    """The choices that the engine makes for a model on this machine. model_limit: tokens that
    the model can attend to. Raises ConfigError if the memory can't hold one request."""
    device = choose_device(config.device)
    free = max(0, available_memory(device) - weight_bytes)
    kv_dtype = choose_kv_cache_dtype(config.kv_cache_dtype, config.dtype, checkpoint.dtype, dtype)
    token_bytes = kv_cache_spec.bytes_per_token(kv_dtype)
    plan = plan_memory(config, model_limit, weight_bytes, token_bytes, free)
    return [
        Setting("device", str(device), _why_device(config, device)),
        Setting("dtype", dtype_name(dtype), _why_dtype(config, checkpoint, dtype)),
        Setting("kernels", _by_backend(kernels), "the highest priority among those for the device"),
        Setting("packed weights", *_packing(kernels)),
        Setting("max_model_len", str(plan.max_model_len), _why_length(config)),
        Setting(
            "block size",
            f"{plan.block_size} tokens",
            f"{plan.block_bytes / _MIB:.2f} MiB a block; half of one is lost for each request",
        ),
        Setting(
            "KV cache",
            f"{plan.num_blocks * plan.block_bytes / _MIB:.0f} MiB",
            _why_kv_cache(config, plan, token_bytes, free),
        ),
    ]


def _by_backend(kernels: KernelTable) -> str:
    counts = Counter(kernels.backends.values())
    return ", ".join(f"{backend} for {count}" for backend, count in counts.most_common())


def _why_device(config: EngineConfig, device: torch.device) -> str:
    if config.device != "auto":
        return "asked for"
    return "there is a GPU" if device.type == "cuda" else "there is no GPU"


def _why_dtype(config: EngineConfig, checkpoint: Checkpoint, dtype: torch.dtype) -> str:
    if config.dtype != "auto":
        return "asked for"
    stored = checkpoint.dtype
    if stored is None:
        return "the checkpoint names none"
    if str(dtype).endswith(stored):
        return "the checkpoint's"
    lacks = "has no bfloat16 instructions" if not has_bf16() else "computes in bfloat16 instead"
    return f"the checkpoint's is {stored}, and this processor {lacks}"


def _packing(kernels: KernelTable) -> tuple[str, str]:
    choice = next(choice for choice in kernels.choices if choice.op == "linear")
    packs = "no" if choice.backend == "reference" else f"yes, for {choice.backend}"
    return packs, choice.why


def _why_length(config: EngineConfig) -> str:
    return "the model's own limit" if config.max_model_len is None else "asked for"


def _why_kv_cache(config: EngineConfig, plan: MemoryPlan, token_bytes: int, free: int) -> str:
    if config.kv_cache_memory is not None:
        return "asked for"
    size = f"{token_bytes} bytes a token"
    most = -(-plan.max_model_len // plan.block_size) * plan.max_num_seqs
    if plan.num_blocks == most:
        return f"{size}; what {plan.max_num_seqs} of the longest requests could fill"
    return f"{size}; half of the {free / _MIB:.0f} MiB that are free beside the weights"
