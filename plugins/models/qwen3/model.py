"""The Qwen3 decoder (Yang et al., 2025, arXiv:2505.09388): queries and keys are normalised."""

from __future__ import annotations

from ....core.contracts.interfaces import BuildContext
from ....core.contracts.specs import JsonDict
from ....core.layers.decoder import DecoderForCausalLM
from ....core.layers.decoder_config import DecoderConfig


class Qwen3ForCausalLM(DecoderForCausalLM):
    """See `plugin.interfaces.LanguageModel`."""

    def __init__(self, config: JsonDict, build: BuildContext) -> None:
        bias = bool(config.get("attention_bias"))
        parsed = DecoderConfig.from_dict(config, qkv_bias=bias, output_bias=bias, qk_norm=True)
        super().__init__(parsed, build)
