"""Qwen2-VL writes an image as one placeholder token per feature, row by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ....core.contracts import ImagePreprocessor, ImagePrompt, ImageSize, JsonDict


class QwenImagePrompt(ImagePrompt):
    """See `core.contracts.ImagePrompt`."""

    def __init__(
        self,
        config: JsonDict,
        preprocessor: ImagePreprocessor,
        encode: Callable[[str], Sequence[int]],
    ) -> None:
        self.image_token_id: int = config["image_token_id"]
        self.feature_token_id = self.image_token_id
        self._preprocessor = preprocessor

    def expand(self, size: ImageSize) -> Sequence[int]:
        """As many as the image's size gives."""
        return [self.feature_token_id] * self._preprocessor.num_tokens(size)
