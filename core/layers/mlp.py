"""Feed-forward layers."""

from torch import Tensor, nn

from ...kernels.dispatch import KernelTable
from .activation import get_activation


class GatedMLP(nn.Module):
    """down(activation(gate(x)) * up(x)), as in Llama (Shazeer, 2020, arXiv:2002.05202).

    Raises ValueError for an activation without a kernel.
    """

    def __init__(
        self,
        hidden_size: int,
        intermediate_size: int,
        kernels: KernelTable,
        activation: str = "silu",
        bias: bool = False,
    ) -> None:
        super().__init__()
        known = {"silu": kernels.silu_and_mul, "gelu_pytorch_tanh": kernels.gelu_tanh_and_mul}
        if activation not in known:
            raise ValueError(
                f"a gated layer can't use the activation {activation!r}; known: {', '.join(known)}"
            )
        self.gate_proj = nn.Linear(hidden_size, intermediate_size, bias=bias)
        self.up_proj = nn.Linear(hidden_size, intermediate_size, bias=bias)
        self.down_proj = nn.Linear(intermediate_size, hidden_size, bias=bias)
        self.activation = activation
        self._kernel = known[activation]

    def forward(self, x: Tensor) -> Tensor:
        """[..., hidden_size] in and out."""
        output: Tensor = self.down_proj(self._kernel(self.gate_proj(x), self.up_proj(x)))
        return output


class MLP(nn.Module):
    """Two linear layers with an activation between, as in vision transformers."""

    def __init__(self, hidden_size: int, intermediate_size: int, activation: str) -> None:
        super().__init__()
        self.fc1 = nn.Linear(hidden_size, intermediate_size)
        self.fc2 = nn.Linear(intermediate_size, hidden_size)
        self._activation = get_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        """[..., hidden_size] in and out."""
        output: Tensor = self.fc2(self._activation(self.fc1(x)))
        return output
