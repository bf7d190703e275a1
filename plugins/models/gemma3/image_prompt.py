"""Gemma 3 writes an image as a block of its own, with empty lines around."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ....core.contracts.specs import ImagePreprocessor, ImageSize, JsonDict, RepeatedPlaceholder

_BEGIN, _END = "<start_of_image>", "<end_of_image>"


class Gemma3ImagePrompt(RepeatedPlaceholder):
    """See `plugin.ImagePrompt`."""

    def __init__(
        self,
        config: JsonDict,
        preprocessor: ImagePreprocessor,
        encode: Callable[[str], Sequence[int]],
    ) -> None:
        super().__init__(config, preprocessor, encode)
        self.image_token_id = config["boi_token_index"]

    def complete(self, text: str) -> str:
        """Line breaks are added before tokenising, as they may join others around them."""
        return text.replace(_BEGIN, f"\n\n{_BEGIN}{_END}\n\n")

    def expand(self, size: ImageSize) -> Sequence[int]:
        """The beginning of the image, which `complete` left in place, and its features."""
        return [self.image_token_id, *super().expand(size)]
