"""What a method does to each layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...core.protocol.config import ConfigError
from ...core.quantization.rounding.grid import Grid
from ...core.quantization.rounding.packed import fits

Solver = Literal["rtn", "clip", "gptq"]

#: Where a layer's inputs are not whole groups.
_EIGHT = Grid(bits=8)
_FLOAT8 = Grid(bits=8, is_float=True)
_BITS, _GROUP_SIZES = (4, 8), (32, 64, 128)
#: Methods that are whole recipes, and how to make them of settings.
_WHOLE = ("int4", "int8", "fp8")
#: Options of grids of integers.
_INTEGERS = ("--bits", "--group-size", "--symmetric")
#: Those that a budget chooses.
_CHOSEN = ("--bits", "--group-size", "--float8")
_BUDGETED = ("int4", "gptq", "rtn")
METHODS = ("rtn", "awq", "gptq", *_WHOLE)


@dataclass(frozen=True)
class Recipe:
    """solver: how numbers are found; "clip" is to the nearest, with ranges that fit the inputs.
    grids: where they may lie. budget: most bits a weight, on average, by which each layer's grid is
    chosen; None if each gets the first that fits it. scales: whether inputs are scaled before, see
    `search_scaling`. damping, ordered: see `gptq`. refines: whether `refine` follows it.
    tunes: whether `tune_scales` comes last."""

    solver: Solver
    grids: tuple[Grid, ...]
    budget: float | None = None
    scales: bool = False
    damping: float = 0.01
    ordered: bool = False
    refines: bool = False
    tunes: bool = False

    @property
    def calibrates(self) -> bool:
        """Whether it looks at data."""
        return self.solver != "rtn" or self.budget is not None

    def grids_of(self, outputs: int, inputs: int) -> list[Grid]:
        """Those that fit a layer of this shape."""
        return [grid for grid in self.grids if fits(grid, outputs, inputs)]


def make_recipe(
    method: str,
    bits: int | None = None,
    group_size: int | None = None,
    symmetric: bool = False,
    float8: bool = False,
    bits_budget: float | None = None,
    damping: float | None = None,
    act_order: bool = False,
    no_tuning: bool = False,
) -> Recipe:
    """None is the method's default. Raises ConfigError for settings that it doesn't take."""
    if method not in METHODS:
        raise ConfigError(f"--method {method!r} is unknown; there are {', '.join(METHODS)}")
    given = {
        "--bits": bits is not None,
        "--group-size": group_size is not None,
        "--symmetric": symmetric,
        "--float8": float8,
        "--bits-budget": bits_budget is not None,
        "--damping": damping is not None,
        "--act-order": act_order,
        "--no-tuning": no_tuning,
    }
    taken = set() if method in _WHOLE else set(_INTEGERS)
    taken |= {"--float8"} if method in ("rtn", "gptq") else set()
    taken |= {"--damping", "--act-order"} if method == "gptq" else set()
    taken |= {"--no-tuning"} if method == "int4" else set()
    taken |= {"--bits-budget"} if method in _BUDGETED else set()
    for option, is_given in given.items():
        if is_given and option not in taken:
            raise ConfigError(f"{option} does not go with --method {method}")
        if is_given and float8 and option in _INTEGERS:
            raise ConfigError(f"{option} does not go with --float8, which has a scale per output")
        if is_given and bits_budget is not None and option in _CHOSEN:
            raise ConfigError(f"{option} does not go with --bits-budget, which chooses it")
    if bits not in (None, *_BITS):
        raise ConfigError(f"--bits {bits}: must be 4 or 8")
    if group_size not in (None, *_GROUP_SIZES):
        raise ConfigError(f"--group-size {group_size}: must be 32, 64 or 128")
    if damping is not None and not 0 < damping <= 1:
        raise ConfigError(f"--damping {damping}: must be above 0 and at most 1")
    if method == "int8":
        return Recipe("gptq", (_EIGHT,))
    if method == "fp8":
        return Recipe("gptq", (_FLOAT8,), ordered=True)
    grids: tuple[Grid, ...] = (Grid(bits or 4, group_size or 64, symmetric), _EIGHT)
    if bits_budget is not None:
        grids = (Grid(4, 64, symmetric), Grid(4, 32, symmetric), _EIGHT)
    if float8:
        grids = (_FLOAT8,)
    if method == "int4":
        return Recipe(
            "gptq",
            grids,
            bits_budget,
            scales=True,
            ordered=True,
            refines=True,
            tunes=not no_tuning,
        )
    if method == "rtn":
        return Recipe("rtn", grids, bits_budget)
    if method == "awq":
        return Recipe("clip", grids, scales=True)
    return Recipe(
        "gptq", grids, bits_budget, False, 0.01 if damping is None else damping, act_order
    )
