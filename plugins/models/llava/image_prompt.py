"""LLaVA writes an image as one placeholder token per feature vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ....core.contracts.specs import ImagePreprocessor, ImageSize, JsonDict, RepeatedPlaceholder
from .features import FeatureSelection


class LlavaImagePrompt(RepeatedPlaceholder):
    """See `plugin.ImagePrompt`."""

    def __init__(
        self,
        config: JsonDict,
        preprocessor: ImagePreprocessor,
        encode: Callable[[str], Sequence[int]],
    ) -> None:
        super().__init__(config, preprocessor, encode)
        self._skipped = int(FeatureSelection.from_dict(config).skip_first)

    def expand(self, size: ImageSize) -> Sequence[int]:
        """The tower's features, without the class token where the config drops it."""
        return super().expand(size)[self._skipped :]
