"""Libraries that a wheel ships: compiled before by `scripts/build-wheels`, and used only for the
sources, flags and processors that they were made for."""

from __future__ import annotations

from pathlib import Path

from .compiler import compile_library, find_compiler
from .recipe import Recipe

FOLDER = "prebuilt"


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
    return recipe.sources.parent / FOLDER / f"{recipe.name()}.so"
