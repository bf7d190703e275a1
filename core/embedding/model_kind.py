"""Which models give embeddings, known before any of them is loaded."""

from __future__ import annotations

from pathlib import Path

from ..checkpoints.find_checkpoint import find_checkpoint
from ..checkpoints.hub import download, is_hub_id
from ..checkpoints.json_file import read_json_file
from ..protocol.config import NO_MMPROJ

#: Of names of open_clip's models, as "open_clip:MODEL:WEIGHTS".
PREFIX = "open_clip:"
#: Of checkpoints whose pictures and texts lie in one space.
MODEL_TYPES = ("clip", "siglip", "siglip2")


def surely_gives_embeddings(name: str) -> bool:
    """Whether it is known without a download that a model of this name gives embeddings. Raises
    ConfigError as `gives_embeddings` does."""
    return (name.startswith(PREFIX) or not is_hub_id(name)) and gives_embeddings(name)


def gives_embeddings(name: str) -> bool:
    """Whether a model of this name, as `load_embedder` takes it, gives embeddings; all others
    generate. Raises ConfigError for a checkpoint that can't be found or read."""
    if name.startswith(PREFIX):
        return True
    path = Path(name).expanduser()
    if is_hub_id(name):
        path = download(name, NO_MMPROJ).path
    if path.is_file() or (path.is_dir() and not (path / "config.json").is_file()):
        return False  # of GGUF files, none is such a model
    folder = path if path.is_dir() else find_checkpoint(name).path
    described = read_json_file(folder / "config.json")
    return described.get("model_type") in MODEL_TYPES
