"""A picture is resized to the very bytes that torch gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from octavo.kernels.resize import numpy_passes
from octavo.kernels.resize.compiled_passes import CompiledPasses
from octavo.kernels.resize.resize import Passes, load_passes, resize
from octavo.kernels.resize.weights import Filter
from torch.nn.functional import interpolate

NUM_PICTURES = 150
LARGEST = 200


@pytest.fixture(scope="module", params=["compiled", "numpy"])
def passes(request: pytest.FixtureRequest) -> Passes:
    return CompiledPasses() if request.param == "compiled" else numpy_passes


def of_torch(pixels: np.ndarray, size: tuple[int, int], filter_name: Filter) -> np.ndarray:
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    resized = interpolate(planes, size=size, mode=filter_name, antialias=True)
    return resized[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("filter_name", get_args(Filter))
def test_bytes_are_those_of_torch(filter_name: Filter, passes: Passes) -> None:
    generator = np.random.default_rng(17)
    for _ in range(NUM_PICTURES):
        # Most of them small, where edges are all there is.
        height, width, rows, columns = (
            int(length) for length in LARGEST ** generator.uniform(0, 1, 4)
        )
        if (rows, columns) == (1, 1):
            continue  # torch fails
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        if generator.random() < 0.3:
            pixels = np.where(pixels > 127, 255, 0).astype(np.uint8)  # over- and undershoots
        expected = of_torch(pixels, (rows, columns), filter_name)
        resized = resize(pixels, (rows, columns), filter_name, passes)
        np.testing.assert_array_equal(resized, expected, f"{pixels.shape} to {rows, columns}")


@pytest.mark.parametrize("size", [(3000, 7), (7, 3000), (1, 2), (2, 1)])
def test_extreme_sizes(size: tuple[int, int], passes: Passes) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    for target in ((5, 4), (1, 300), (300, 1)):
        expected = of_torch(pixels, target, "bicubic")
        np.testing.assert_array_equal(resize(pixels, target, "bicubic", passes), expected)


def test_views_of_other_pictures(passes: Passes) -> None:
    whole = np.random.default_rng(2).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    part = whole[5:50:2, ::-3]
    expected = resize(part.copy(), (20, 30), "bilinear", passes)
    np.testing.assert_array_equal(resize(part, (20, 30), "bilinear", passes), expected)


@pytest.mark.parametrize(
    ("shape", "dtype", "size"),
    [
        ((4, 4, 3), np.float32, (2, 2)),
        ((4, 4), np.uint8, (2, 2)),
        ((4, 4, 4), np.uint8, (2, 2)),
        ((4, 0, 3), np.uint8, (2, 2)),
        ((4, 4, 3), np.uint8, (0, 2)),
    ],
)
def test_what_is_no_picture_is_refused(
    shape: tuple[int, ...], dtype: type, size: tuple[int, int]
) -> None:
    with pytest.raises(ValueError, match="picture"):
        resize(np.zeros(shape, dtype), size, "bilinear")


def resized_elsewhere(environment: dict[str, str]) -> tuple[str, str]:
    """What another process prints and says of a small picture's resizing."""
    code = (
        "import logging, sys, numpy as np; logging.basicConfig();"
        "from octavo.kernels.resize.resize import load_passes, resize;"
        "pixels = np.arange(300, dtype=np.uint8).reshape(10, 10, 3);"
        "print(resize(pixels, (4, 3), 'bicubic').ravel().tolist(), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return done.stdout, done.stderr


def test_without_a_compiler_it_is_numpy_that_resizes(
    tmp_path: Path,
) -> None:
    pixels = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    expected = f"{of_torch(pixels, (4, 3), 'bicubic').ravel().tolist()} False\n"
    with_compiler, _ = resized_elsewhere({**os.environ})
    bare = {**os.environ, "PATH": str(tmp_path), "CXX": "", "OCTAVO_KERNEL_CACHE": str(tmp_path)}
    without, said = resized_elsewhere(bare)
    assert with_compiler == without == expected
    assert "resized by numpy" in said


def test_the_compiled_ones_are_taken() -> None:
    assert isinstance(load_passes(), CompiledPasses)
