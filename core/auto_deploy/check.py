"""Holds a deployed model against what transformers' own model answered before it was changed."""

from __future__ import annotations

from collections.abc import Iterator

from ..contracts.interfaces import LanguageModel
from ..deploy.deployment import Deployment
from .agreement import require_agreement
from .picture_check import PictureCheck
from .text_check import TextCheck

#: Tokens of the long prompt, beyond the longest window or chunk that is short enough to be shown
#: in a moment; those of longer ones show in their masks alone (see `attention_masks.py`).
_LONG_PROMPT = 64
_SHOWN_WINDOW = 512
_WINDOWS = ("sliding_window", "attention_chunk_size")


class Check:
    """What transformers' model of a deployment answers to short texts and a long one, and about
    pictures. deployment: one whose model is loaded and not changed.

    Raises ConfigError for a model that can't be asked.
    """

    def __init__(self, deployment: Deployment) -> None:
        model, self._name = deployment.model, deployment.checkpoint.name
        prefix = deployment.spec.image_attention == "prefix"
        config = model.config.get_text_config(decoder=True)
        named = (getattr(config, window, None) or 0 for window in _WINDOWS)
        window = max((size for size in named if size <= _SHOWN_WINDOW), default=0)
        length = min(window + _LONG_PROMPT, config.max_position_embeddings - 1)
        self._dtype = deployment.dtype
        self._texts = {
            "short texts": TextCheck(model, prefix=prefix),
            f"a text of {length} tokens": TextCheck(model, 1, length, 1, prefix),
        }
        self._pictures = (
            PictureCheck(model, deployment.checkpoint) if deployment.takes_images else None
        )

    def compare(self, model: LanguageModel) -> Iterator[str]:
        """How well a deployed model agrees, a line for each thing that is asked. Raises
        ConfigError if it doesn't."""
        for subject, text in self._texts.items():
            agreement = text.compare(model, self._dtype)
            require_agreement(agreement, self._dtype, self._name, subject)
            yield f"check, {subject}: {agreement.describe()}"
        if self._pictures is not None:
            agreement = self._pictures.compare(model, self._dtype)
            yield f"check, pictures: {agreement.describe()}"
