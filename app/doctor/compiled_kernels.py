"""The doctor on the compiler, and on the kernels that it compiles."""

from __future__ import annotations

from collections.abc import Iterator

from ...kernels.cpu.build import find_library
from ...kernels.cpu.compiler import CompilerMissingError, find_compiler
from ...kernels.cpu.isa import choose_isa
from ...kernels.spec import KernelError
from .finding import Remark


def look_at_compiler() -> Iterator[Remark]:
    """Which one there is."""
    try:
        path, said = find_compiler()
    except CompilerMissingError as error:
        if _are_compiled():
            yield "ok", f"{error}; the kernels are compiled already"
        else:
            yield "warn", f"{error}; without it torch's operators run, which are slower"
    else:
        yield "ok", f"{path}: {said}"


def look_at_kernels() -> Iterator[Remark]:
    """Whether they are compiled already. Raises KernelError as `choose_isa` does."""
    isa = choose_isa()
    library = find_library(isa)
    if library is not None:
        yield "ok", f"compiled for {isa.name}: {library}"
        return
    try:
        find_compiler()
    except CompilerMissingError:
        yield "warn", f"none are compiled for {isa.name}, and none can be"
    else:
        yield "ok", f"none are compiled for {isa.name} yet; the self-test, or the first start, will"


def _are_compiled() -> bool:
    try:
        return find_library(choose_isa()) is not None
    except KernelError:  # `look_at_kernels` tells of it
        return False
