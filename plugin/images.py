"""From pictures to pixel values, as Hugging Face's image processors do it."""

from ..core.media.preprocess import (
    PatchPreprocessor,
    PreprocessConfig,
    cut_tiles,
    on_canvas,
    to_pixels,
)

__all__ = ["PatchPreprocessor", "PreprocessConfig", "cut_tiles", "on_canvas", "to_pixels"]
