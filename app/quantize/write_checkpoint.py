"""A quantised checkpoint's folder: tensors, settings, and the source's other files."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from ...core.checkpoints.json_file import read_json_file
from ...core.checkpoints.weight_files import INDEX, WHOLE
from ...core.quantization.rounding.grid import Grid
from ...core.quantization.rounding.packed import layout, weight_settings

#: Bytes of a file of weights.
SHARD_BYTES = 2 << 30
_WEIGHTS = re.compile(r"\.(safetensors|bin|pt|pth|h5|msgpack|gguf|onnx|index\.json)$")
_TEMPLATES = "additional_chat_templates"

Targets = Mapping[Grid, Sequence[str]]


def write_checkpoint(
    folder: Path,
    source: Path,
    tensors: Iterable[tuple[str, Tensor]],
    settings: Mapping[str, Any],
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """folder: empty. source: of a plain checkpoint. tensors: all, by their names. settings: the
    quantization_config."""
    for path in sorted(source.iterdir()):
        if path.is_file() and not path.name.startswith(".") and not _WEIGHTS.search(path.name):
            shutil.copyfile(path, folder / path.name)
        if path.is_dir() and path.name == _TEMPLATES:
            shutil.copytree(path, folder / path.name)
    config = {**read_json_file(source / "config.json"), "quantization_config": settings}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    shards: list[list[str]] = []
    total = 0
    for shard in _shards(tensors, shard_bytes):
        total += sum(tensor.nbytes for tensor in shard.values())
        shards.append(list(shard))
        save_file(shard, folder / f"{len(shards)}.writing", {"format": "pt"})
    names = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    if len(shards) == 1:
        names = [WHOLE]
    for i, name in enumerate(names):
        (folder / f"{i + 1}.writing").replace(folder / name)
    if len(shards) > 1:
        places = {
            tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard
        }
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def quantization_settings(targets: Targets, ignored: Sequence[str]) -> dict[str, Any]:
    """The quantization_config in the form of the compressed-tensors library. targets: the layers of
    each grid, by class or pattern."""
    layouts = {layout(grid) for grid in targets}
    groups = {
        f"group_{i}": {
            "targets": list(names),
            "weights": weight_settings(grid),
            "input_activations": None,
            "output_activations": None,
            "format": layout(grid),
        }
        for i, (grid, names) in enumerate(targets.items())
    }
    return {
        "quant_method": "compressed-tensors",
        "format": layouts.pop() if len(layouts) == 1 else "mixed-precision",
        "quantization_status": "compressed",
        "kv_cache_scheme": None,
        "config_groups": groups,
        "ignore": list(ignored),
    }


def _shards(tensors: Iterable[tuple[str, Tensor]], most: int) -> Iterator[dict[str, Tensor]]:
    """At least a tensor in each, and at most so many bytes."""
    shard: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors:
        if shard and size + tensor.nbytes > most:
            yield shard
            shard, size = {}, 0
        shard[name] = tensor.contiguous()
        size += tensor.nbytes
    if shard:
        yield shard
