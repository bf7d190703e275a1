"""What a method does to each layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...core.protocol.config import ConfigError
from ...core.quantization.rounding.grid import Grid
from ...core.quantization.rounding.packed import fits

Solver = Literal["rtn", "gptq"]

#: Where a layer's inputs are not whole groups.
_EIGHT = Grid(bits=8)
_FLOAT8 = Grid(bits=8, is_float=True)
_BITS, _GROUP_SIZES = (4, 8), (32, 64, 128)
#: Methods that are whole recipes, and how to make them of settings.
_WHOLE = ("int4", "int8", "fp8")
#: Options of grids of integers.
_INTEGERS = ("--bits", "--group-size", "--symmetric")
METHODS = ("rtn", "gptq", *_WHOLE)


@dataclass(frozen=True)
class Recipe:
    """solver: how numbers are found. grid: where they lie. damping, ordered: see `gptq`."""

    solver: Solver
    grid: Grid
    damping: float = 0.01
    ordered: bool = False

    @property
    def calibrates(self) -> bool:
        """Whether it looks at inputs."""
        return self.solver != "rtn"

    def grid_of(self, outputs: int, inputs: int) -> Grid | None:
        """For a layer of this shape; None if it stays plain."""
        return next((g for g in (self.grid, _EIGHT) if fits(g, outputs, inputs)), None)


def make_recipe(
    method: str,
    bits: int | None = None,
    group_size: int | None = None,
    symmetric: bool = False,
    float8: bool = False,
    damping: float | None = None,
    act_order: bool = False,
) -> Recipe:
    """None is the method's default. Raises ConfigError for settings that it doesn't take."""
    if method not in METHODS:
        raise ConfigError(f"--method {method!r} is unknown; there are {', '.join(METHODS)}")
    given = {
        "--bits": bits is not None,
        "--group-size": group_size is not None,
        "--symmetric": symmetric,
        "--float8": float8,
        "--damping": damping is not None,
        "--act-order": act_order,
    }
    taken = set() if method in _WHOLE else {*_INTEGERS, "--float8"}
    taken |= {"--damping", "--act-order"} if method == "gptq" else set()
    for option, is_given in given.items():
        if is_given and option not in taken:
            raise ConfigError(f"{option} does not go with --method {method}")
        if is_given and float8 and option in _INTEGERS:
            raise ConfigError(f"{option} does not go with --float8, which has a scale per output")
    if bits not in (None, *_BITS):
        raise ConfigError(f"--bits {bits}: must be 4 or 8")
    if group_size not in (None, *_GROUP_SIZES):
        raise ConfigError(f"--group-size {group_size}: must be 32, 64 or 128")
    if damping is not None and not 0 < damping <= 1:
        raise ConfigError(f"--damping {damping}: must be above 0 and at most 1")
    if method == "int8":
        return Recipe("gptq", Grid(bits=8))
    if method == "fp8":
        return Recipe("gptq", _FLOAT8, ordered=True)
    if method == "int4":
        return Recipe("gptq", Grid(4, 64, symmetric=False), ordered=True)
    grid = _FLOAT8 if float8 else Grid(bits or 4, group_size or 64, symmetric)
    if method == "rtn":
        return Recipe("rtn", grid)
    return Recipe("gptq", grid, 0.01 if damping is None else damping, act_order)
