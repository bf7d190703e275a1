"""Base of models with a vision tower and a projector before a decoder."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import Tensor, nn

from ...kernels.ops import AttentionMetadata
from ..contracts.interfaces import (
    LANGUAGE_MODEL,
    BuildContext,
    KVLayer,
    VisionEncoder,
    WeightPlace,
)
from ..contracts.specs import JsonDict

#: Renames of parts, which checkpoints name in three ways: as transformers 4 wrote them, as
#: its later releases hold them in memory, and without the tower's inner "vision_model".
RENAMES = (
    (re.compile(r"^model\.(vision_tower|multi_modal_projector|image_newline)\b"), r"\1"),
    (re.compile(r"^model\.language_model\."), "language_model.model."),
    (re.compile(r"^lm_head\."), "language_model.lm_head."),
    (re.compile(r"^vision_tower\.vision_model\."), "vision_tower."),
)


class VisionLanguageModel(nn.Module):
    """See `plugin.interfaces.LanguageModel`; a subclass adds its projector and `encode_images`.

    renames: patterns that turn a checkpoint's names into those of the parts here.
    """

    renames: Sequence[tuple[re.Pattern[str], str]] = RENAMES

    def __init__(self, config: JsonDict, build: BuildContext, vision_tower: VisionEncoder) -> None:
        super().__init__()
        self.vision_tower = vision_tower
        text_config = dict(config["text_config"])
        text_config["tie_word_embeddings"] = bool(
            config.get("tie_word_embeddings") or text_config.get("tie_word_embeddings")
        )
        self.language_model = build.language_model(text_config)
        self.vocab_size = self.language_model.vocab_size
        self.hidden_size = self.language_model.hidden_size
        self.max_position_embeddings = self.language_model.max_position_embeddings
        self.kv_cache_spec = self.language_model.kv_cache_spec

    def map_weight(self, name: str) -> WeightPlace:
        """Undo the naming of the checkpoint's age, then ask the part that owns the weight."""
        for pattern, replacement in self.renames:
            name = pattern.sub(replacement, name)
        part, _, rest = name.partition(".")
        if part == LANGUAGE_MODEL:
            return _within(part, self.language_model.map_weight(rest))
        if part == "vision_tower":
            return _within(part, self.vision_tower.map_weight(rest))
        return name

    def embed(self, token_ids: Tensor) -> Tensor:
        """[num_tokens] -> [num_tokens, hidden_size]."""
        return self.language_model.embed(token_ids)

    def forward(
        self,
        embeds: Tensor,
        positions: Tensor,
        kv_cache: Sequence[KVLayer],
        metadata: AttentionMetadata,
    ) -> Tensor:
        """See `plugin.interfaces.LanguageModel.forward`."""
        return self.language_model.forward(embeds, positions, kv_cache, metadata)

    def compute_logits(self, hidden: Tensor) -> Tensor:
        """[num_rows, hidden_size] -> [num_rows, vocab_size]."""
        return self.language_model.compute_logits(hidden)


def _within(part: str, place: WeightPlace) -> WeightPlace:
    """A place inside a part, as seen from the whole."""
    if place is None:
        return None
    return f"{part}.{place}" if isinstance(place, str) else tuple(f"{part}.{p}" for p in place)
