"""Compiles all libraries of kernels for all levels of instructions into the package itself, where
`scripts/build-wheels` packs them:

    python -m octavo.kernels.prebuild
"""

from __future__ import annotations

from collections.abc import Iterator

from .cpu.build import SOURCES
from .cpu.isa import LEVELS
from .cpu.prebuilt import prebuild
from .cpu.recipe import Recipe
from .resize import compiled_passes


def recipes() -> Iterator[Recipe]:
    """What is compiled at first use where it was not shipped."""
    for isa in LEVELS:
        yield Recipe(SOURCES, isa)
        yield Recipe(compiled_passes.SOURCES, isa, compiled_passes.FLAGS)


if __name__ == "__main__":
    for recipe in recipes():
        print(f"{recipe.title}: {prebuild(recipe).name}", flush=True)
