"""Files of a checkpoint's weights: `model.safetensors`, else the shards that
`model.safetensors.index.json` names. Other files beside them (copies, adapters, the same weights by
other names) are no part of the model, as in transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..contracts.specs import StoredTensor
from ..protocol.config import ConfigError
from .json_file import read_json_file
from .unreadable import unreadable

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class WeightFiles:
    """folder: that they lie in. shards: the file of each tensor by its name; empty for one whole
    file."""

    folder: Path
    shards: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        """Names of the files."""
        return sorted(set(self.shards.values())) or [WHOLE]

    def present(self) -> list[Path]:
        """Paths of the files. Raises ConfigError that names those that are missing."""
        missing = [name for name in self.names if not (self.folder / name).is_file()]
        if missing:
            raise ConfigError(
                f"{self.folder} lacks {len(missing)} of the {len(self.names)} files of weights "
                f"that {INDEX} names: {', '.join(missing[:4])}{', …' if len(missing) > 4 else ''}; "
                "copy or download them again"
            )
        return [self.folder / name for name in self.names]

    def holds(self, path: Path, tensor: str) -> bool:
        """Whether a tensor in one of the files is the model's, and not left over from another
        division into shards."""
        return self.shards.get(tensor, path.name) == path.name


def find_weights(folder: Path) -> WeightFiles:
    """Weight files in a checkpoint's folder. Raises ConfigError if it holds none in this form,
    or an index that can't be read."""
    if (folder / WHOLE).is_file():
        return WeightFiles(folder, {})
    if not (folder / INDEX).is_file():
        others = sorted(path.name for path in folder.glob("*") if _holds_weights(path))
        beside = f"; {', '.join(others[:4])} can't be read" if others else ""
        raise ConfigError(
            f"no {WHOLE} and no {INDEX} in {folder}{beside}; convert the checkpoint first: load it "
            "with transformers and call save_pretrained"
        )
    shards = read_json_file(folder / INDEX).get("weight_map")
    if not isinstance(shards, dict) or not shards or not all(map(_is_plain, shards.values())):
        raise ConfigError(
            f"{folder / INDEX}: weight_map must give the name of a file in the folder for each "
            "tensor"
        )
    return WeightFiles(folder, shards)


def read_header(path: Path) -> dict[str, StoredTensor]:
    """By name the tensors of a file of safetensors, whose header
    (https://huggingface.co/docs/safetensors) says where each lies. Raises ConfigError for one that
    ends before its tensors do."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            header_size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(header_size, size)))
        header.pop("__metadata__", None)
        tensors = {name: _stored_tensor(entry) for name, entry in header.items()}
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        wanted = 8 + header_size + end
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise unreadable(path, error) from error
    if size < wanted:
        raise ConfigError(
            f"{path} is truncated: it has {size} bytes of {wanted}; copy or download it again"
        )
    return tensors


def _stored_tensor(entry: Mapping[str, Any]) -> StoredTensor:
    start, end = entry["data_offsets"]
    return StoredTensor(str(entry["dtype"]), tuple(entry["shape"]), end - start)


def _is_plain(name: Any) -> bool:
    return isinstance(name, str) and name == Path(name).name


def _holds_weights(path: Path) -> bool:
    return path.suffix in (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack")
