"""LLaVA's projector from the tower to the decoder."""

from __future__ import annotations

from torch import Tensor, nn

from ....core.contracts.specs import JsonDict
from ....core.layers.activation import get_activation


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
