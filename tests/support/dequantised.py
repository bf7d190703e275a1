"""What `octavo quantize` writes, as a plain checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from octavo.core.quantization.rounding.grid import Grid
from octavo.core.quantization.rounding.packed import from_stored
from safetensors.torch import load_file, save_file


def dequantised(plain: Path, output: Path, folder: Path) -> Path:
    """Write a plain checkpoint of the weights that output stands for; it was made of plain."""
    shutil.copytree(plain, folder)
    tensors = load_file(plain / "model.safetensors")
    stored = load_file(output / "model.safetensors")
    groups = json.loads((output / "config.json").read_text())["quantization_config"]
    assert groups["quant_method"] == "compressed-tensors"
    for name in [name for name in tensors if f"{name}_scale" in stored]:
        own = {k.removeprefix(name[:-6]): t for k, t in stored.items() if k.startswith(name[:-6])}
        if "weight_packed" in own:
            bits = 32 * own["weight_packed"].shape[1] // int(own["weight_shape"][1])
            grid = Grid(bits, 1, "weight_zero_point" not in own)
            tensors[name] = from_stored(own, grid).values()
        else:
            tensors[name] = own["weight"].float() * own["weight_scale"].float()
    # Norms may be others, too.
    kept = [name for name in tensors if name in stored and f"{name}_scale" not in stored]
    tensors.update({name: stored[name].float() for name in kept})
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder
