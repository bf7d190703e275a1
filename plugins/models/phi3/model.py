"""The Phi-3 decoder (Abdin et al., 2024, arXiv:2404.14219): Llama's, stored with fused weights."""

from __future__ import annotations

from ....core.contracts.interfaces import BuildContext, WeightPlace
from ....core.contracts.specs import JsonDict
from ....core.layers.decoder import DecoderForCausalLM
from ....core.layers.decoder_config import DecoderConfig

_FUSED = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
}


class Phi3ForCausalLM(DecoderForCausalLM):
    """See `plugin.interfaces.LanguageModel`."""

    def __init__(self, config: JsonDict, build: BuildContext) -> None:
        super().__init__(DecoderConfig.from_dict(config), build)

    def map_weight(self, name: str) -> WeightPlace:
        """As any decoder's, but that the rows of fused projections go apart."""
        for fused, parts in _FUSED.items():
            if f".{fused}." in name:
                return tuple(name.replace(fused, part) for part in parts)
        return super().map_weight(name)
