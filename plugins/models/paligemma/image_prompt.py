"""PaliGemma reads its images, then a beginning of sequence, then a line of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ....core.contracts import ImagePreprocessor, ImagePrompt, ImageSize, JsonDict

_IMAGE, _BOS = "<image>", "<bos>"


class PaliGemmaImagePrompt(ImagePrompt):
    """See `core.contracts.ImagePrompt`."""

    #: Its checkpoints are not made for chat; this writes images and texts in their order.
    chat_template = (
        "{% for message in messages %}{% if message.content is string %}{{ message.content }}"
        "{% else %}{% for part in message.content %}{% if part.type == 'image' %}"
        + _IMAGE
        + "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}{% endfor %}"
    )

    def __init__(
        self,
        config: JsonDict,
        preprocessor: ImagePreprocessor,
        encode: Callable[[str], Sequence[int]],
    ) -> None:
        self.image_token_id: int = config["image_token_index"]
        self.feature_token_id = self.image_token_id
        self._preprocessor = preprocessor

    def complete(self, text: str) -> str:
        """The beginning of the sequence stands after the last image."""
        images, placeholder, words = text.rpartition(_IMAGE)
        return f"{images}{placeholder}{_BOS}{words}\n"

    def expand(self, size: ImageSize) -> Sequence[int]:
        """All of the tower's features."""
        return [self.feature_token_id] * self._preprocessor.num_tokens(size)
