"""A table of embeddings that is stored in fewer bits."""

from __future__ import annotations

from torch import Tensor, nn

from ....kernels.ops import QuantizedWeight
from ....kernels.reference import dequantize


class QuantizedEmbedding(nn.Module):
    """Rows of a weight [num_embeddings, width]; its tensors are buffers, named as its fields."""

    def __init__(self, weight: QuantizedWeight) -> None:
        super().__init__()
        self.register_buffer("data", weight.data)
        self.register_buffer("scale", weight.scale)
        self.register_buffer("zero", weight.zero)
        self.data: Tensor
        self.scale: Tensor
        self.zero: Tensor | None
        self._format = weight.format
        self._group_size = weight.group_size

    @property
    def weight(self) -> QuantizedWeight:
        """The weight, of the buffers as they are now."""
        return QuantizedWeight(self._format, self.data, self.scale, self.zero, self._group_size)

    def forward(self, token_ids: Tensor) -> Tensor:
        """[num_tokens] -> float32 [num_tokens, width]; only these rows are dequantised."""
        zero = None if self.zero is None else self.zero[token_ids]
        rows = QuantizedWeight(
            self._format, self.data[token_ids], self.scale[token_ids], zero, self._group_size
        )
        return dequantize(rows)
