"""What an image may be before it is decoded, and how it is decoded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MediaLimits:
    """max_pixels: width times height; max_bytes: of the file; max_frames: of an animation, of
    which only the first is used."""

    max_pixels: int = 50_000_000
    max_bytes: int = 32 * 2**20
    max_frames: int = 1000
