"""Search of a model's files: in a folder, in GGUF files, or on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from ..contracts.specs import load_object
from ..protocol.config import ConfigError
from .checkpoint import Checkpoint
from .gguf.mmproj.find_projector import find_projector, is_projector
from .hub import download, is_hub_id


def find_checkpoint(name: str, mmproj: str | None = None) -> Checkpoint:
    """A local folder, a GGUF file, or a hub repository or a GGUF file of one, downloaded if it is
    not cached.

    mmproj: see EngineConfig. Raises ConfigError if it is none of these, if its config can't be
    read, or if `mmproj` is no file or is not for it.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return _in_gguf_file(name, path, mmproj)
    if path.is_dir():
        return _in_folder(name, path, mmproj)
    if not is_hub_id(name):
        raise ConfigError(f"model {name!r} is neither a folder nor a GGUF file")
    found = download(name, mmproj)
    if found.path.is_file():
        return _in_gguf_file(name, found.path, found.mmproj)
    return _in_folder(name, found.path, mmproj)


def _in_folder(name: str, folder: Path, mmproj: str | None) -> Checkpoint:
    if (folder / "config.json").is_file():
        if mmproj is not None:
            raise ConfigError(f"mmproj {mmproj!r} is for GGUF files, and {name!r} is none")
        return Checkpoint(name, folder)
    ggufs = [path for path in sorted(folder.glob("*.gguf")) if not is_projector(path)]
    if len(ggufs) == 1:
        return _in_gguf_file(name, ggufs[0], mmproj)
    if ggufs:
        listed = ", ".join(path.name for path in ggufs)
        raise ConfigError(f"model {name!r}: {folder} has several GGUF files, name one: {listed}")
    raise ConfigError(f"model {name!r}: {folder} has no config.json and no GGUF file of a model")


def _in_gguf_file(name: str, path: Path, mmproj: str | None) -> Checkpoint:
    projector = find_projector(path, mmproj)
    # Read by transformers with torch, which checkpoints in folders don't need.
    checkpoint: Checkpoint
    if projector is None:
        load = load_object("octavo.core.checkpoints.gguf.gguf_checkpoint:GgufCheckpoint")
        checkpoint = load(name, path)
    else:
        pair = load_object("octavo.core.checkpoints.gguf.mmproj.vision_gguf:pair_files")
        checkpoint = pair(name, path, projector)
    return checkpoint
