"""Which number format a model computes in; imports no torch."""

from __future__ import annotations

from ...kernels.processor import has_bf16

_KNOWN = ("float32", "bfloat16", "float16")


def choose_dtype_name(name: str, checkpoint_dtype: str | None, is_cpu: bool) -> str:
    """The named one; "auto" is the checkpoint's unless the device has no instructions for it."""
    if name != "auto":
        return name
    dtype = checkpoint_dtype if checkpoint_dtype in _KNOWN else "float32"
    if is_cpu and dtype != "float32" and not has_bf16():
        return "float32"
    return "bfloat16" if is_cpu and dtype == "float16" else dtype
