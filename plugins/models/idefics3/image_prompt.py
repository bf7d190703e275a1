"""Idefics3's image prompt: tiles row by row, each with its row and column, then the whole image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ....core.contracts.specs import ImagePrompt, ImageSize, JsonDict
from .preprocessor import Idefics3Preprocessor

_AROUND, _IMAGE, _WHOLE = "<fake_token_around_image>", "<image>", "<global-img>"


class Idefics3ImagePrompt(ImagePrompt):
    """See `plugin.ImagePrompt`."""

    def __init__(
        self,
        config: JsonDict,
        preprocessor: Idefics3Preprocessor,
        encode: Callable[[str], Sequence[int]],
    ) -> None:
        self.image_token_id: int = config["image_token_id"]
        self.feature_token_id = self.image_token_id
        self._preprocessor = preprocessor
        self._encode = encode

    def expand(self, size: ImageSize) -> Sequence[int]:
        """A line of tiles for each row, and the whole after an empty line."""
        features = _IMAGE * self._preprocessor.features_per_tile
        rows, columns = self._preprocessor.tiles(size)
        lines = [
            "".join(f"{_AROUND}<row_{i + 1}_col_{j + 1}>{features}" for j in range(columns)) + "\n"
            for i in range(rows)
        ]
        gap = "\n" if rows else ""
        return self._encode(f"{''.join(lines)}{gap}{_AROUND}{_WHOLE}{features}{_AROUND}")
