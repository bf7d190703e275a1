"""Resize, crop and normalise as Hugging Face image processors do, bit for bit, without torch.

Pixels are numpy's, [3, height, width] in the order of torch, whatever their order in memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...kernels.resize.resize import resize
from ...kernels.resize.weights import Filter
from ..contracts.specs import ImagePreprocessor, ImageSize, JsonDict, PreprocessedImage

Pixels = NDArray[np.uint8]

_FILTERS: dict[int, Filter] = {
    Image.Resampling.LANCZOS: "lanczos",
    Image.Resampling.BILINEAR: "bilinear",
    Image.Resampling.BICUBIC: "bicubic",
}


@dataclass(frozen=True)
class PreprocessConfig:
    """The fields of `preprocessor_config.json`; sizes are (height, width).

    shortest_edge: resize so that the shorter side has this length; else resize_to exactly.
    """

    shortest_edge: int | None
    resize_to: tuple[int, int] | None
    resample: int
    crop_to: tuple[int, int] | None
    rescale_factor: float | None
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def from_dict(cls, config: JsonDict, defaults: JsonDict) -> PreprocessConfig:
        """Raises ValueError for a `size`, `crop_size` or `resample` that is not understood."""
        merged = {**defaults, **{k: v for k, v in config.items() if v is not None}}
        size = _as_mapping(merged["size"], square=merged.get("default_to_square", True))
        resize = merged.get("do_resize", True)
        shortest = size.get("shortest_edge")
        if resize and not (shortest or {"height", "width"} <= set(size)):
            raise ValueError(f"preprocessor_config.json: size {size} is not supported")
        if merged["resample"] not in _FILTERS:
            raise ValueError(f"preprocessor_config.json: resample {merged['resample']} is unknown")
        crop = _as_mapping(merged.get("crop_size", {}), square=True)
        normalize = merged.get("do_normalize", True)
        channels = len(merged["image_mean"])
        return cls(
            shortest_edge=shortest if resize else None,
            resize_to=None if shortest or not resize else (size["height"], size["width"]),
            resample=merged["resample"],
            crop_to=(crop["height"], crop["width"]) if merged.get("do_center_crop") else None,
            rescale_factor=merged.get("rescale_factor", 1 / 255)
            if merged.get("do_rescale", True)
            else None,
            mean=tuple(merged["image_mean"]) if normalize else (0.0,) * channels,
            std=tuple(merged["image_std"]) if normalize else (1.0,) * channels,
        )

    def output_size(self, size: ImageSize) -> ImageSize:
        """The size of the pixel values for an image of this size."""
        height, width = self.crop_to or self.resized(size.height, size.width)
        return ImageSize(width, height)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) after resizing and before cropping."""
        if self.resize_to is not None:
            return self.resize_to
        if self.shortest_edge is None:
            return height, width
        short, long = sorted((height, width))
        scaled = int(self.shortest_edge * long / short)
        return (self.shortest_edge, scaled) if height <= width else (scaled, self.shortest_edge)

    def fingerprint(self) -> str:
        """A digest of every setting."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def apply(self, image: Image.Image) -> NDArray[np.float32]:
        """An RGB image -> float32 [3, height, width]."""
        pixels = self.resize(to_pixels(image), self.resized(image.height, image.width))
        if self.crop_to is not None:
            pixels = _center_crop(pixels, *self.crop_to)
        return self.normalize(pixels)

    def resize(self, pixels: Pixels, size: tuple[int, int]) -> Pixels:
        """uint8 [3, height, width] -> the same at another (height, width)."""
        rows = resize(pixels.transpose(1, 2, 0), size, _FILTERS[self.resample])
        return rows.transpose(2, 0, 1)

    def normalize(self, pixels: Pixels) -> NDArray[np.float32]:
        """uint8 [..., 3, height, width] -> float32, rescaled, with the mean taken off."""
        # Rescaling is folded into mean and deviation, as transformers does, for equal rounding.
        factor = np.float32(1.0 if self.rescale_factor is None else 1.0 / self.rescale_factor)
        mean, std = (np.asarray(v, np.float32) * factor for v in (self.mean, self.std))
        normalized = pixels.astype(np.float32, order="C")
        normalized -= mean[:, None, None]
        normalized /= std[:, None, None]
        return normalized


def to_pixels(image: Image.Image) -> Pixels:
    """An RGB image -> uint8 [3, height, width]."""
    return np.array(image).transpose(2, 0, 1)


def cut_tiles(pixels: Pixels, side: int) -> Pixels:
    """[3, rows * side, columns * side] -> [rows * columns, 3, side, side], row by row."""
    _, height, width = pixels.shape
    tiles = pixels.reshape(3, height // side, side, width // side, side)
    return tiles.transpose(1, 3, 0, 2, 4).reshape(-1, 3, side, side)


def on_canvas(pixels: Pixels, size: tuple[int, int], colour: Sequence[int] = (0, 0, 0)) -> Pixels:
    """uint8 [3, height, width] in the middle of a larger (height, width) of one colour; what can't
    be halved of the margins goes below and to the right."""
    _, height, width = pixels.shape
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    canvas = np.empty((*size, 3), np.uint8)
    canvas[...] = colour
    canvas[top : top + height, left : left + width] = pixels.transpose(1, 2, 0)
    return canvas.transpose(2, 0, 1)


class PatchPreprocessor(ImagePreprocessor):
    """An ImagePreprocessor for towers that cut one resized image into square patches.

    extra_tokens: features besides the patches, such as a class token.
    """

    def __init__(self, config: PreprocessConfig, patch_size: int, extra_tokens: int = 0) -> None:
        self._config = config
        self._patch_size = patch_size
        self._extra_tokens = extra_tokens

    def num_tokens(self, size: ImageSize) -> int:
        """Patches and extra tokens of an image of this size."""
        width, height = self._config.output_size(size)
        patches = (width // self._patch_size) * (height // self._patch_size)
        return patches + self._extra_tokens

    def preprocess(self, image: Image.Image) -> PreprocessedImage:
        """An RGB image -> [3, height, width]."""
        return PreprocessedImage(self._config.apply(image))

    def fingerprint(self) -> str:
        """A digest of the settings."""
        return self._config.fingerprint()


def _as_mapping(size: JsonDict | int, square: bool) -> JsonDict:
    if isinstance(size, int):
        return {"height": size, "width": size} if square else {"shortest_edge": size}
    return size


def _center_crop(pixels: Pixels, height: int, width: int) -> Pixels:
    """Crop around the middle, padding with black where the image is too small."""
    frame = (max(height, pixels.shape[1]), max(width, pixels.shape[2]))
    if frame != pixels.shape[1:]:
        pixels = on_canvas(pixels, frame)
    top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
    return pixels[:, top : top + height, left : left + width]


OPENAI_MEAN: Sequence[float] = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD: Sequence[float] = (0.26862954, 0.26130258, 0.27577711)
