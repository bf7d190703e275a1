"""Registers, shared memory and spills of every kernel, compiled ahead of time without a GPU."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime import driver

from .launches import server_launches

#: Compute capabilities and the bytes of shared memory that one block may have there (CUDA C++
#: Programming Guide, "Technical specifications per compute capability").
SHARED_LIMITS = {80: 163 * 1024, 90: 227 * 1024}
REGISTER_LIMIT = 255


@dataclass(frozen=True)
class Usage:
    """Resources of one compiled kernel.

    kernel: the function's name.
    arch: the compute capability it was compiled for, such as 80.
    num_warps: warps of 32 threads in a block.
    registers: of 32 bits, per thread.
    shared: bytes per block.
    spills: bytes stored to and loaded from local memory for want of registers.
    """

    kernel: str
    arch: int
    num_warps: int
    registers: int
    shared: int
    spills: int


def compile_launches(call: Callable[[], object], arch: int) -> list[Usage]:
    """Compile what a call would launch, with the arguments, tiles and alignments that it would be
    launched with, and launch nothing. Every tensor must be of the device "meta".

    Raises what Triton raises for a kernel that it can't compile.
    """
    usages: list[Usage] = []

    def compile_instead(**launch: Any) -> bool:
        usages.append(_compile(launch["fn"].jit_function, launch["compile"], arch))
        return True

    with knobs.runtime.scope(), _pretended_gpu(arch):
        knobs.runtime.jit_cache_hook = compile_instead
        call()
    return usages


def _compile(function: Any, launch: dict[str, Any], arch: int) -> Usage:
    source = ASTSource(function, launch["signature"], launch["constants"], launch["configs"][0])
    options = {name: launch[name] for name in ("num_warps", "num_stages")}
    log = io.StringIO()
    with (
        knobs.compilation.scope(),
        knobs.nvidia.scope(),
        contextlib.redirect_stdout(log),
    ):
        # Spills are only in the assembler's log, which a kernel from the cache lacks.
        knobs.compilation.always_compile = True
        knobs.nvidia.dump_ptxas_log = True
        compiled = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    return Usage(
        kernel=function.fn.__name__,
        arch=arch,
        num_warps=compiled.metadata.num_warps,
        registers=_count(r"Used (\d+) registers", log.getvalue()),
        shared=compiled.metadata.shared,
        spills=_count(r"(\d+) bytes spill stores", log.getvalue())
        + _count(r"(\d+) bytes spill loads", log.getvalue()),
    )


def _count(pattern: str, log: str) -> int:
    found = re.search(pattern, log)
    if found is None:
        raise ValueError(f"the assembler's log says nothing of the form {pattern!r}:\n{log}")
    return int(found[1])


class _PretendedGPU:
    """Driver stub with the methods that Triton calls before it compiles."""

    def __init__(self, arch: int) -> None:
        self._arch = arch

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self._arch, 32)

    def get_current_device(self) -> int:
        """Triton keeps what it knows of a device under its number; no real one has this."""
        return -self._arch

    def get_current_stream(self, device: int) -> int:
        return 0


@contextlib.contextmanager
def _pretended_gpu(arch: int) -> Iterator[None]:
    # The public property would look for a real GPU.
    before = driver._active
    driver.set_active(_PretendedGPU(arch))
    try:
        yield
    finally:
        driver._active = before


def markdown_table(archs: Iterable[int] = tuple(SHARED_LIMITS)) -> Iterator[str]:
    """The lines of a table of all kernels, as they are compiled."""
    yield "| Op | Call | Kernel | sm | Warps | Registers | Shared memory, bytes | Spilled bytes |"
    yield "|---|---|---|---|---|---|---|---|"
    for launch in server_launches():
        for arch in archs:
            for usage in compile_launches(launch.call, arch):
                yield (
                    f"| {launch.op} | {launch.shape} | {usage.kernel} | {arch} | "
                    f"{usage.num_warps} | {usage.registers} | {usage.shared:,} | {usage.spills} |"
                )


def main() -> None:
    """Print the table; takes minutes."""
    assembler = knobs.nvidia.ptxas
    print(f"Compiled by Triton {triton.__version__} and ptxas {assembler.version}.\n")
    for line in markdown_table():
        print(line, flush=True)


if __name__ == "__main__":
    main()
