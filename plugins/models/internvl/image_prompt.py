"""InternVL writes an image as its features between two tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ....core.contracts import ImagePreprocessor, ImagePrompt, ImageSize, JsonDict


class InternVLImagePrompt(ImagePrompt):
    """See `core.contracts.ImagePrompt`."""

    def __init__(
        self,
        config: JsonDict,
        preprocessor: ImagePreprocessor,
        encode: Callable[[str], Sequence[int]],
    ) -> None:
        self.image_token_id: int = config["image_token_id"]
        self.feature_token_id = self.image_token_id
        self._before, self._after = encode("<img>"), encode("</img>")
        self._preprocessor = preprocessor

    def expand(self, size: ImageSize) -> Sequence[int]:
        """All tiles in one run."""
        features = [self.feature_token_id] * self._preprocessor.num_tokens(size)
        return [*self._before, *features, *self._after]
