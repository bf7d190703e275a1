"""A GGUF file whose layers stay in the bits that they are stored in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...contracts.specs import JsonDict
from ..checkpoint import Checkpoint
from .gguf_checkpoint import GgufCheckpoint
from .gguf_codes import PACKINGS, read_codes
from .gguf_file import GgufTensor

_LAYERS, _WEIGHT = ".layers.", ".weight"
#: Layers that models split into several, whose names files don't have.
_FUSED = ("qkv_proj", "gate_up_proj")


@dataclass(frozen=True)
class PackedGgufCheckpoint(Checkpoint):
    """plain: the same, whose layers are dequantised; embeddings, and layers of types that no
    integers hold, are here too."""

    plain: GgufCheckpoint

    @property
    def config(self) -> JsonDict:
        """See Checkpoint."""
        return self.plain.config

    @property
    def quantization_config(self) -> JsonDict:
        """For the method gguf; empty if there is nothing for it."""
        layers = {}
        for name, module in self._packed.items():
            packing = PACKINGS[self.plain.file.tensors[name].kind]
            layers[module] = (packing.bits, packing.group_size, packing.has_zero)
        return {"quant_method": "gguf", "layers": layers} if layers else {}

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Instead of a layer's weight what `plugins/quant/gguf` reserves."""
        for name, tensor in self.plain.tensors():
            order = self._row_order(name, tensor) if name in self._packed else None
            if order is None:
                yield from self.plain.placed(name, tensor)
                continue
            codes = read_codes(tensor, PACKINGS[tensor.kind])
            for part, values in zip(codes._fields, codes, strict=True):
                if values is not None:
                    writable = torch.from_numpy(np.require(values, None, ["W"]))
                    yield f"{self._packed[name]}.{part}", writable[order]

    def weight_names(self) -> Iterator[str]:
        """See GgufCheckpoint."""
        return self.plain.weight_names()

    def weight_paths(self) -> list[Path]:
        """See GgufCheckpoint."""
        return self.plain.weight_paths()

    @cached_property
    def _packed(self) -> dict[str, str]:
        """Layers of the language model by the file's names of their weights."""
        return {
            name: module
            for name, tensor in self.plain.tensors()
            if (module := self._module(name, tensor)) is not None
        }

    def _module(self, name: str, tensor: GgufTensor) -> str | None:
        place = self.plain.places.get(name, "")
        module = place.removesuffix(_WEIGHT)
        is_layer = _LAYERS in place and place != module and not module.endswith(_FUSED)
        if not is_layer or tensor.kind not in PACKINGS or tensor.data.ndim != 2:
            return None
        return module if self._row_order(name, tensor) is not None else None

    def _row_order(self, name: str, tensor: GgufTensor) -> Tensor | None:
        """The file's row for each of the model's; None if its converter did anything else than move
        rows."""
        rows = np.arange(len(tensor.data), dtype=np.float32)[:, None]
        moved = self.plain.processed(name, rows)
        if moved.shape != rows.shape or not np.array_equal(np.sort(moved, axis=0), rows):
            return None
        return torch.from_numpy(moved[:, 0].astype(np.int64))
