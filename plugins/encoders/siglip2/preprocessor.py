"""SigLIP 2's image preparation: at its own aspect, as many patches as are allowed."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from hashlib import sha256

from PIL import Image

from ....core.contracts.specs import ImagePreprocessor, ImageSize, JsonDict, PreprocessedImage
from ....core.media.preprocess import PreprocessConfig

_DEFAULTS = {
    "size": {},
    "resample": 2,
    "image_mean": (0.5, 0.5, 0.5),
    "image_std": (0.5, 0.5, 0.5),
}
_MAX_PATCHES = 256
#: Tolerance of the search for the scale, as in training: it decides some sizes.
_PRECISION = 1e-5


class Siglip2Preprocessor(ImagePreprocessor):
    """See `plugin.ImagePreprocessor`. Pixel values are [patches, patch_size² * 3]; the
    layout is their rows and columns.

    Raises ValueError for settings that don't resize, or cut patches of another size."""

    def __init__(self, vision_config: JsonDict, processor_config: JsonDict) -> None:
        _check(vision_config, processor_config)
        given = {**processor_config, "do_resize": False, "size": {}}
        self._config = PreprocessConfig.from_dict(given, _DEFAULTS)
        self._patch: int = vision_config["patch_size"]
        self._max_patches: int = processor_config.get("max_num_patches") or _MAX_PATCHES

    def num_tokens(self, size: ImageSize) -> int:
        """Its patches."""
        return math.prod(self.grid(size))

    def grid(self, size: ImageSize) -> tuple[int, int]:
        """Rows and columns of the largest scale at which the patches are not too many."""
        smallest, largest = _PRECISION / 10, 100.0
        while largest - smallest >= _PRECISION:
            scale = (smallest + largest) / 2
            if math.prod(self._grid_at(scale, size)) <= self._max_patches:
                smallest = scale
            else:
                largest = scale
        return self._grid_at(smallest, size)

    def preprocess(self, image: Image.Image) -> PreprocessedImage:
        """An RGB image -> its patches."""
        rows, columns = self.grid(ImageSize(*image.size))
        patch = self._patch
        pixels = replace(self._config, resize_to=(rows * patch, columns * patch)).apply(image)
        patches = pixels.reshape(3, rows, patch, columns, patch).transpose(1, 3, 2, 4, 0)
        return PreprocessedImage(patches.reshape(rows * columns, -1), (rows, columns))

    def fingerprint(self) -> str:
        """A digest of the settings."""
        parts = (self._config.fingerprint(), self._patch, self._max_patches)
        return sha256(repr(parts).encode()).hexdigest()

    def limited(self, max_tokens: int) -> ImagePreprocessor:
        """With fewer patches."""
        limited = copy.copy(self)
        limited._max_patches = min(self._max_patches, max_tokens)
        return limited

    def _grid_at(self, scale: float, size: ImageSize) -> tuple[int, int]:
        rows, columns = (
            max(1, math.ceil(side * scale / self._patch)) for side in (size.height, size.width)
        )
        return rows, columns


def _check(vision_config: JsonDict, processor_config: JsonDict) -> None:
    if processor_config.get("do_resize") is False:
        raise ValueError("preprocessor_config.json: SigLIP 2 needs do_resize")
    wanted, given = vision_config["patch_size"], processor_config.get("patch_size")
    if given not in (None, wanted):
        raise ValueError(
            f"preprocessor_config.json: patch_size is {given}, vision_config's is {wanted}"
        )
