"""LLaVA (Liu et al., 2023, arXiv:2310.03744): a vision tower projected into a decoder."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import Tensor, nn

from ....core.contracts import JsonDict
from ....core.interfaces import BuildContext, KVLayer
from ....core.layers.activation import get_activation
from ....kernels.ops import AttentionMetadata
from .features import FeatureSelection

# Checkpoints name the parts in three ways: as transformers 4 wrote them, as its later
# releases hold them in memory, and without the tower's inner "vision_model".
_RENAMES = (
    (re.compile(r"^model\.(vision_tower|multi_modal_projector)\."), r"\1."),
    (re.compile(r"^model\.language_model\."), "language_model.model."),
    (re.compile(r"^lm_head\."), "language_model.lm_head."),
    (re.compile(r"^vision_tower\.vision_model\."), "vision_tower."),
)


class Projector(nn.Module):
    """Two linear layers from the tower's width to the decoder's."""

    def __init__(self, config: JsonDict, vision_width: int, text_width: int) -> None:
        super().__init__()
        bias = config.get("multimodal_projector_bias", True)
        self.linear_1 = nn.Linear(vision_width, text_width, bias=bias)
        self.linear_2 = nn.Linear(text_width, text_width, bias=bias)
        self._activation = get_activation(config.get("projector_hidden_act", "gelu"))

    def forward(self, x: Tensor) -> Tensor:
        """[..., vision_width] -> [..., text_width]."""
        output: Tensor = self.linear_2(self._activation(self.linear_1(x)))
        return output


class LlavaForConditionalGeneration(nn.Module):
    """See `core.interfaces.LanguageModel` and `MultiModalModel`."""

    def __init__(self, config: JsonDict, build: BuildContext) -> None:
        super().__init__()
        self._features = FeatureSelection.from_dict(config)
        self.vision_tower = build.vision_encoder(config["vision_config"], self._features.layers)
        text_config = dict(config["text_config"])
        text_config["tie_word_embeddings"] = bool(
            config.get("tie_word_embeddings") or text_config.get("tie_word_embeddings")
        )
        self.language_model = build.language_model(text_config)
        self.multi_modal_projector = Projector(
            config, self.vision_tower.hidden_size, self.language_model.hidden_size
        )
        self.vocab_size = self.language_model.vocab_size
        self.hidden_size = self.language_model.hidden_size
        self.max_position_embeddings = self.language_model.max_position_embeddings
        self.kv_cache_spec = self.language_model.kv_cache_spec

    def map_weight(self, name: str) -> str | None:
        """Undo the naming of the checkpoint's age, then ask the part that owns the weight."""
        for pattern, replacement in _RENAMES:
            name = pattern.sub(replacement, name)
        part, _, rest = name.partition(".")
        if part == "language_model":
            mapped = self.language_model.map_weight(rest)
        elif part == "vision_tower":
            mapped = self.vision_tower.map_weight(rest)
        else:
            return name
        return None if mapped is None else f"{part}.{mapped}"

    def embed(self, token_ids: Tensor) -> Tensor:
        """[num_tokens] -> [num_tokens, hidden_size]."""
        return self.language_model.embed(token_ids)

    def encode_images(
        self, pixel_values: Tensor, layouts: Sequence[tuple[int, ...]]
    ) -> Sequence[Tensor]:
        """[num_images, channels, height, width] -> for each [num_tokens, hidden_size]."""
        features = self.vision_tower(pixel_values)
        if self._features.skip_first:
            features = features[:, 1:]
        return list(self.multi_modal_projector(features))

    def forward(
        self,
        embeds: Tensor,
        positions: Tensor,
        kv_cache: Sequence[KVLayer],
        metadata: AttentionMetadata,
    ) -> Tensor:
        """See `core.interfaces.LanguageModel.forward`."""
        return self.language_model.forward(embeds, positions, kv_cache, metadata)

    def compute_logits(self, hidden: Tensor) -> Tensor:
        """[num_rows, hidden_size] -> [num_rows, vocab_size]."""
        return self.language_model.compute_logits(hidden)
