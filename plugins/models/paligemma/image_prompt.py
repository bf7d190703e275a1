"""PaliGemma reads its images, then a beginning of sequence, then a line of text."""

from __future__ import annotations

from ....core.contracts.specs import RepeatedPlaceholder

_IMAGE, _BOS = "<image>", "<bos>"


class PaliGemmaImagePrompt(RepeatedPlaceholder):
    """See `plugin.ImagePrompt`."""

    #: Its checkpoints are not made for chat; this writes images and texts in their order.
    chat_template = (
        "{% for message in messages %}{% if message.content is string %}{{ message.content }}"
        "{% else %}{% for part in message.content %}{% if part.type == 'image' %}"
        + _IMAGE
        + "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}{% endfor %}"
    )

    def complete(self, text: str) -> str:
        """The beginning of the sequence stands after the last image."""
        images, placeholder, words = text.rpartition(_IMAGE)
        return f"{images}{placeholder}{_BOS}{words}\n"
