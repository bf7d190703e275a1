"""Tiny checkpoints as other programs store them in fewer bits, by the formats' definitions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from text_checkpoints import save_family
from torch import Tensor

#: The output that each of a word's four-bit places is for in AWQ's layout.
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
SIZES = {"hidden_size": 128, "intermediate_size": 256, "head_dim": 32}
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Rounded:
    """A weight, scale · (step - zero): steps [in, out], scales and zeros [groups, out], and the
    group of each input."""

    steps: Numbers
    scales: NDArray[np.float16]
    zeros: Numbers
    groups: Numbers

    def values(self) -> Tensor:
        """float32 [out, in]."""
        scales = self.scales.astype(np.float64)[self.groups]
        values = scales * (self.steps - self.zeros[self.groups])
        return torch.from_numpy(np.ascontiguousarray(values.T, np.float32))


def rounded(weight: Tensor, bits: int, groups: Numbers, symmetric: bool = False) -> Rounded:
    """To the nearest. weight: [out, in]."""
    values = weight.double().numpy().T
    count, most = int(groups.max()) + 1, (1 << bits) - 1
    scales = np.zeros((count, values.shape[1]), np.float16)
    zeros = np.zeros((count, values.shape[1]), np.int64)
    for group in range(count):
        low, high = values[groups == group].min(0), values[groups == group].max(0)
        if symmetric:
            high = np.maximum(-low, high)
            low = -high
        scales[group] = (high - low) / most
        zero = np.rint(-low / scales[group].astype(np.float64)).clip(0, most)
        zeros[group] = (most + 1) // 2 if symmetric else zero
    wide = scales.astype(np.float64)[groups]
    steps = np.rint(values / wide + zeros[groups]).clip(0, most).astype(np.int64)
    return Rounded(steps, scales, zeros, groups)


def packed(numbers: Numbers, bits: int) -> Tensor:
    """[rows, n] -> int32 [rows, n · bits / 32], the first in the lowest bits."""
    places = np.arange(32 // bits, dtype=np.int64) * bits
    words = (numbers.reshape(len(numbers), -1, 32 // bits) << places).sum(-1)
    return torch.from_numpy(words.astype(np.uint32).view(np.int32).copy())


def awq_tensors(weight: Rounded) -> dict[str, Tensor]:
    def words(numbers: Numbers) -> Tensor:
        return packed(
            numbers.reshape(len(numbers), -1, 8)[..., AWQ_ORDER].reshape(len(numbers), -1), 4
        )

    return {
        "qweight": words(weight.steps),
        "qzeros": words(weight.zeros),
        "scales": torch.from_numpy(weight.scales),
    }


def gptq_tensors(weight: Rounded, bits: int, below: int = 1) -> dict[str, Tensor]:
    """below: how far below the real ones zeros are stored."""
    return {
        "qweight": packed(weight.steps.T, bits).T.contiguous(),
        "qzeros": packed((weight.zeros - below) % (1 << bits), bits),
        "scales": torch.from_numpy(weight.scales),
        "g_idx": torch.from_numpy(weight.groups.astype(np.int32)),
    }


def save_quantised(
    folder: Path,
    settings: Mapping[str, Any],
    quantise: Callable[[str, Tensor], tuple[Tensor, Mapping[str, Tensor]]],
    save: Callable[[Path], Path] | None = None,
    chosen: str = r"\.layers\..*_proj$",
) -> tuple[Path, Path]:
    """The same model twice, a Llama by default: with some layers' weights rounded, and with what is
    stored of those. quantise: gives both for a weight. chosen: finds the layers' names."""
    save = save or partial(save_family, family="Llama", settings=SIZES)
    plain, stored = save(folder / "plain"), save(folder / "stored")
    weights = load_file(plain / "model.safetensors")
    tensors = dict(weights)
    layers = (name.removesuffix(".weight") for name in weights if name.endswith(".weight"))
    for name in [f"{layer}.weight" for layer in layers if re.search(chosen, layer)]:
        weights[name], made = quantise(name, weights[name])
        del tensors[name]
        layer = name.removesuffix("weight")
        tensors.update({layer + part: tensor.contiguous() for part, tensor in made.items()})
    save_file(weights, plain / "model.safetensors", {"format": "pt"})
    save_file(tensors, stored / "model.safetensors", {"format": "pt"})
    config = json.loads((stored / "config.json").read_text())
    (stored / "config.json").write_text(json.dumps({**config, "quantization_config": settings}))
    return plain, stored
