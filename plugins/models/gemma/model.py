"""The Gemma decoders (arXiv:2403.08295, arXiv:2408.00118, arXiv:2503.19786).

All scale their embeddings and norm by 1 + weight; Gemma 2 adds norms after each part, windows and
soft caps; Gemma 3 normalises queries and keys instead of capping them.
"""

from __future__ import annotations

from typing import Any

from ....core.contracts.interfaces import BuildContext
from ....core.contracts.specs import JsonDict
from ....core.layers.decoder import DecoderForCausalLM
from ....core.layers.decoder_config import DecoderConfig


class GemmaForCausalLM(DecoderForCausalLM):
    """See `plugin.interfaces.LanguageModel`."""

    def __init__(self, config: JsonDict, build: BuildContext, **traits: Any) -> None:
        if config.get("use_bidirectional_attention") is True:
            raise ValueError("use_bidirectional_attention: text that sees itself is not supported")
        bias = bool(config.get("attention_bias"))
        parsed = DecoderConfig.from_dict(
            config,
            qkv_bias=bias,
            output_bias=bias,
            unit_offset_norm=True,
            embedding_scale=config["hidden_size"] ** 0.5,
            **traits,
        )
        super().__init__(parsed, build)


class Gemma2ForCausalLM(GemmaForCausalLM):
    """See `plugin.interfaces.LanguageModel`."""

    def __init__(self, config: JsonDict, build: BuildContext) -> None:
        super().__init__(config, build, sandwich_norms=True)


class Gemma3ForCausalLM(GemmaForCausalLM):
    """See `plugin.interfaces.LanguageModel`."""

    def __init__(self, config: JsonDict, build: BuildContext) -> None:
        super().__init__(config, build, sandwich_norms=True, qk_norm=True)
