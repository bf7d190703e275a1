"""Embedded ICC profiles: colours as they were meant, in sRGB, by littlecms."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from .warn_once import warn_once

#: A profile for print has 3 MB at most.
_MAX_BYTES = 4 * 2**20
_MODES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}
#: Input, display, output and colour space; not device links and the like.
_CLASSES = frozenset(["scnr", "mntr", "prtr", "spac"])
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An L, RGB or CMYK image -> RGB in sRGB; other modes, or without a profile that fits, by
    Pillow's plain conversion. The rendering intent is perceptual, as in browsers."""
    transform = (
        _transform(profile, image.mode) if profile and image.mode in _MODES.values() else None
    )
    return image.convert("RGB") if transform is None else transform.apply(image)


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """None if there is nothing to do: sRGB already, or a profile that can't be used."""
    try:
        if len(profile) > _MAX_BYTES:
            raise ValueError("too large")
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.device_class not in _CLASSES:
            raise ValueError(f"of class {source.profile.device_class}")
        if _MODES.get(source.profile.xcolor_space.strip()) != mode:
            raise ValueError(f"for {source.profile.xcolor_space} colours")
        # littlecms's optimised tables are 10 levels off for grey.
        flags = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE
        transform = ImageCms.ImageCmsTransform(source, _SRGB, mode, "RGB", flags=flags)
        return transform if _changes_colours(transform, mode) else None
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        warn_once("images with a colour profile that is damaged or does not fit: shown without it")
        return None


def _changes_colours(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """By more than one level of 255, which is what rounding does; so no name need be trusted."""
    sides = np.linspace(0, 255, 256 if mode == "L" else 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(*[sides] * len(Image.new(mode, (1, 1)).getbands())), -1)
    samples = Image.frombytes(mode, (1, grid.size // grid.shape[-1]), grid.tobytes())
    plain, converted = (
        np.asarray(i, int) for i in (samples.convert("RGB"), transform.apply(samples))
    )
    return bool(np.abs(plain - converted).max() > 1)
