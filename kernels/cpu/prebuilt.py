"""Libraries that a wheel ships: compiled before for each level of instructions, and used only where
sources and flags are still those that they were made of.

As a script it compiles them, for `scripts/build-wheels`:

    python -m octavo.kernels.cpu.prebuilt FOLDER_OF_SOURCES...
"""

from __future__ import annotations

import sys
from pathlib import Path

from .compiler import compile_library, find_compiler
from .isa import LEVELS
from .recipe import Recipe


def find_prebuilt(recipe: Recipe) -> Path | None:
    """The library of a recipe, if it was shipped."""
    path = _place(recipe)
    return path if path.exists() else None


def prebuild(recipe: Recipe) -> Path:
    """Compile a recipe to where `find_prebuilt` looks. Raises KernelError as the compiler does."""
    path = _place(recipe)
    path.parent.mkdir(exist_ok=True)
    compile_library(recipe, find_compiler()[0], path)
    return path


def _place(recipe: Recipe) -> Path:
    return recipe.sources.parent / "prebuilt" / f"{recipe.name()}.so"


if __name__ == "__main__":
    for sources in sys.argv[1:]:
        for isa in LEVELS:
            print(prebuild(Recipe(Path(sources).absolute(), isa)), flush=True)
