"""The Llama decoder (Touvron et al., 2023, arXiv:2302.13971); Mistral's adds a window."""

from __future__ import annotations

from ....core.contracts.interfaces import BuildContext
from ....core.contracts.specs import JsonDict
from ....core.layers.decoder import DecoderForCausalLM
from ....core.layers.decoder_config import DecoderConfig


class LlamaForCausalLM(DecoderForCausalLM):
    """See `plugin.interfaces.LanguageModel`."""

    def __init__(self, config: JsonDict, build: BuildContext) -> None:
        bias = bool(config.get("attention_bias"))
        parsed = DecoderConfig.from_dict(
            config, qkv_bias=bias, output_bias=bias, mlp_bias=bool(config.get("mlp_bias"))
        )
        super().__init__(parsed, build)
