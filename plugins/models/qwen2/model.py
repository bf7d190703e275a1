"""The Qwen2 decoder (Yang et al., 2024, arXiv:2407.10671): Llama's, with biases on q, k and v.

Positions are three-dimensional where the rope settings have sections, as in Qwen2-VL.
"""

from __future__ import annotations

from ....core.contracts.interfaces import BuildContext
from ....core.contracts.specs import JsonDict
from ....core.layers.decoder import DecoderForCausalLM
from ....core.layers.decoder_config import DecoderConfig


class Qwen2ForCausalLM(DecoderForCausalLM):
    """See `plugin.interfaces.LanguageModel`."""

    def __init__(self, config: JsonDict, build: BuildContext) -> None:
        super().__init__(DecoderConfig.from_dict(config, qkv_bias=True), build)
