"""A GGUF file whose layers stay in the bits that they are stored in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...contracts.specs import JsonDict
from ..checkpoint import Checkpoint
from .gguf_checkpoint import GgufCheckpoint
from .gguf_codes import PACKINGS, read_codes
from .gguf_file import GgufTensor

_LAYERS, _WEIGHT = ".layers.", ".weight"
#: The embeddings and a head of its own, where models may store them quantised.
_TABLES = ("model.embed_tokens", "lm_head")
#: Layers that models split into several, whose names files don't have.
_FUSED = ("qkv_proj", "gate_up_proj")


class _Layer(NamedTuple):
    """module: its name in the model. rows: the file's for each of the model's."""

    module: str
    rows: Tensor


@dataclass(frozen=True)
class PackedGgufCheckpoint(Checkpoint):
    """plain: the same, all of which is dequantised; layers of types that no integers hold are here
    too."""

    plain: GgufCheckpoint

    @property
    def config(self) -> JsonDict:
        """See Checkpoint."""
        return self.plain.config

    @property
    def quantization_config(self) -> JsonDict:
        """For the method gguf; empty if there is nothing for it."""
        layers = {}
        for name, layer in self._packed.items():
            packing = PACKINGS[self.plain.file.tensors[name].kind]
            layers[layer.module] = (packing.bits, packing.group_size, packing.has_zero)
        return {"quant_method": "gguf", "layers": layers} if layers else {}

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Instead of a layer's weight what `plugins/quant/gguf` reserves."""
        for name, tensor in self.plain.tensors():
            layer = self._packed.get(name)
            if layer is None:
                yield from self.plain.placed(name, tensor)
                continue
            codes = read_codes(tensor, PACKINGS[tensor.kind])
            for part, values in zip(codes._fields, codes, strict=True):
                if values is not None:
                    writable = torch.from_numpy(np.require(values, None, ["W"]))
                    yield f"{layer.module}.{part}", writable[layer.rows]

    def weight_names(self) -> Iterator[str]:
        """See GgufCheckpoint."""
        return self.plain.weight_names()

    def weight_paths(self) -> list[Path]:
        """See GgufCheckpoint."""
        return self.plain.weight_paths()

    @cached_property
    def _packed(self) -> dict[str, _Layer]:
        """Layers of the language model, its head and embeddings by the file's names."""
        layers = ((name, self._layer(name, tensor)) for name, tensor in self.plain.tensors())
        return {name: layer for name, layer in layers if layer is not None}

    def _layer(self, name: str, tensor: GgufTensor) -> _Layer | None:
        """None if it is none, or its converter did anything else than move rows."""
        place = self.plain.places.get(name, "")
        module = place.removesuffix(_WEIGHT)
        in_layers = _LAYERS in place and place != module and not module.endswith(_FUSED)
        known = in_layers or module in _TABLES
        if not known or tensor.kind not in PACKINGS or tensor.data.ndim != 2:
            return None
        rows = np.arange(len(tensor.data), dtype=np.float32)[:, None]
        moved = self.plain.processed(name, rows)
        if moved.shape != rows.shape or not np.array_equal(np.sort(moved, axis=0), rows):
            return None
        return _Layer(module, torch.from_numpy(moved[:, 0].astype(np.int64)))
