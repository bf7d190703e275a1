"""LLaVA writes an image as one placeholder token per feature vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ....core.contracts import ImagePreprocessor, ImagePrompt, ImageSize, JsonDict
from .features import FeatureSelection


class LlavaImagePrompt(ImagePrompt):
    """See `core.contracts.ImagePrompt`."""

    def __init__(
        self,
        config: JsonDict,
        preprocessor: ImagePreprocessor,
        encode: Callable[[str], Sequence[int]],
    ) -> None:
        self.image_token_id: int = config.get("image_token_index", 32000)
        self.feature_token_id = self.image_token_id
        self._skipped = int(FeatureSelection.from_dict(config).skip_first)
        self._preprocessor = preprocessor

    def expand(self, size: ImageSize) -> Sequence[int]:
        """The tower's features, without the class token where the config drops it."""
        count = self._preprocessor.num_tokens(size) - self._skipped
        return [self.feature_token_id] * count


class AnyresImagePrompt(ImagePrompt):
    """For tiles: one placeholder for each feature that is kept, and each end of a row."""

    def __init__(
        self,
        config: JsonDict,
        preprocessor: ImagePreprocessor,
        encode: Callable[[str], Sequence[int]],
    ) -> None:
        self.image_token_id: int = config["image_token_index"]
        self.feature_token_id = self.image_token_id
        self._preprocessor = preprocessor

    def expand(self, size: ImageSize) -> Sequence[int]:
        """As many as the preprocessor's grid for this size leaves."""
        return [self.feature_token_id] * self._preprocessor.num_tokens(size)
