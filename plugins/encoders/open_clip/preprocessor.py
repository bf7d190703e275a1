"""open_clip's own preprocessing."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from ....core.contracts.specs import ImagePreprocessor, ImageSize, JsonDict, PreprocessedImage
from .config import frozen, published_preprocessing, vision_settings
from .tower import features_shape


class OpenClipPreprocessor(ImagePreprocessor):
    """See `plugin.ImagePreprocessor`. Images are preprocessed as the model's published
    weights want them. A processor's settings change that: those that open_clip's checkpoints
    have as `preprocess_cfg`, or `image_mean` and `image_std`; the size is always the tower's.

    Raises ValueError for a `preprocess_cfg` that open_clip doesn't understand.
    """

    def __init__(self, vision_config: JsonDict, processor_config: JsonDict) -> None:
        size = vision_settings(vision_config).image_size
        wanted = {**published_preprocessing(vision_config), **_given(processor_config)}
        try:
            self._settings = PreprocessCfg(**{**wanted, "size": size})
            self._transform: Any = image_transform_v2(self._settings, is_train=False)
        except (TypeError, AssertionError) as error:
            raise ValueError(f"preprocess_cfg {wanted} is not valid for open_clip") from error
        self._num_tokens = features_shape(vision_config, ())[0]

    def num_tokens(self, size: ImageSize) -> int:
        """Constant, whatever the size."""
        return self._num_tokens

    def preprocess(self, image: Image.Image) -> PreprocessedImage:
        """An RGB image -> [3, height, width]."""
        return PreprocessedImage(self._transform(image).numpy())

    def fingerprint(self) -> str:
        """A digest of the settings."""
        return sha256(repr(self._settings).encode()).hexdigest()


def _given(processor_config: JsonDict) -> dict[str, Any]:
    named = {"mean": "image_mean", "std": "image_std"}
    means = {key: processor_config[n] for key, n in named.items() if processor_config.get(n)}
    return frozen(processor_config.get("preprocess_cfg") or means)
