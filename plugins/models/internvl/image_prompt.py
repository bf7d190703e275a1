"""InternVL writes an image as its features between two tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ....core.contracts.specs import ImagePreprocessor, ImageSize, JsonDict, RepeatedPlaceholder


class InternVLImagePrompt(RepeatedPlaceholder):
    """See `plugin.ImagePrompt`."""

    def __init__(
        self,
        config: JsonDict,
        preprocessor: ImagePreprocessor,
        encode: Callable[[str], Sequence[int]],
    ) -> None:
        super().__init__(config, preprocessor, encode)
        self._before, self._after = encode("<img>"), encode("</img>")

    def expand(self, size: ImageSize) -> Sequence[int]:
        """All tiles in one run."""
        return [*self._before, *super().expand(size), *self._after]
