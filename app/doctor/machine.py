"""The doctor on the machine: processor, threads, memory, accelerator."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from ...core.system.control_group import memory_limit, processor_quota
from ...core.system.memory import available_memory, total_memory
from ...kernels.cpu.isa import ISA_VARIABLE, choose_isa
from ...kernels.processor import cpu_info, has_bf16
from .finding import Remark
from .sizes import show_bytes

_LITTLE_MEMORY = 2**30
_DRIVER = Path("/proc/driver/nvidia")
_CONTROL_DEVICE = Path("/dev/nvidiactl")


def look_at_processor() -> Iterator[Remark]:
    """Its name, and the level of instructions that the kernels use. Raises KernelError for a level
    that the environment asks for and the processor lacks."""
    isa = choose_isa()
    bf16 = "with" if has_bf16() else "without"
    name = cpu_info().get("model name", "a processor that tells no name")
    yield "ok", f"{name}; instructions for the kernels: {isa.name}, {bf16} bfloat16"
    if os.environ.get(ISA_VARIABLE):
        yield "warn", f"{ISA_VARIABLE}={isa.name} in the environment decides on the instructions"
    elif not isa.features:
        yield "warn", "it has no AVX2, which the kernels are made for: all will be slow"


def look_at_threads() -> Iterator[Remark]:
    """Processors that may be used, and limits below them."""
    allowed, quota = len(os.sched_getaffinity(0)), processor_quota()
    yield "ok", f"{allowed} of {os.cpu_count()} processors may be used"
    if quota is not None and quota < allowed:
        yield (
            "warn",
            f"the control group gets {quota:g} processors' time: {allowed} threads would wait for "
            f"each other; set OMP_NUM_THREADS={max(1, int(quota))}, or raise the limit",
        )
    if given := os.environ.get("OMP_NUM_THREADS"):
        yield "ok", f"OMP_NUM_THREADS={given} in the environment"


def look_at_memory() -> Iterator[Remark]:
    """What is free, within the control group's limit."""
    free, limit = available_memory(), memory_limit()
    limited = "" if limit is None else f", {show_bytes(limit)} at most for this control group"
    text = f"{show_bytes(free)} of {show_bytes(total_memory())} are free{limited}"
    if free >= _LITTLE_MEMORY:
        yield "ok", text
    else:
        yield "warn", f"{text}: room for small models alone"


def look_at_accelerator() -> Iterator[Remark]:
    """GPUs that a driver knows, and whether the installed torch is for them."""
    names = list(_gpu_names())
    if not names:
        yield "ok", "no GPU: the processor computes"
        return
    yield "ok", ", ".join(names)
    if not _CONTROL_DEVICE.exists():
        yield "warn", f"{_CONTROL_DEVICE} is not here: give the container its GPUs (--gpus all)"
    if "+cpu" in version("torch"):
        yield (
            "warn",
            f"torch {version('torch')} is for processors alone, and the GPU is not used: "
            "pip install torch from PyPI, without +cpu",
        )


def _gpu_names() -> Iterator[str]:
    for information in sorted(_DRIVER.glob("gpus/*/information")):
        for line in information.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "Model":
                yield value.strip()
