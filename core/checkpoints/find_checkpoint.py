"""Search of a model's files: in a folder, in one GGUF file, or on the Hugging Face hub."""

from __future__ import annotations

import logging
from glob import escape
from pathlib import Path

from ..contracts.specs import load_object
from ..protocol.config import ConfigError
from .checkpoint import Checkpoint
from .weight_files import INDEX, WHOLE, find_weights

logger = logging.getLogger(__name__)

#: Files of a model beside the shards that its index names.
_HUB_PATTERNS = ["*.json", "*.jinja", "*.model", "*.txt", WHOLE]


def find_checkpoint(name: str) -> Checkpoint:
    """A local folder, a GGUF file, or a hub repository, downloaded if it is not cached.

    Raises ConfigError if it is none of these, or if its config can't be read.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return _in_gguf_file(name, path)
    if path.is_dir():
        return _in_folder(name, path)
    if not is_hub_id(name):
        raise ConfigError(f"model {name!r} is neither a folder nor a GGUF file")
    return _in_folder(name, _download(name))


def is_hub_id(name: str) -> bool:
    """Whether a name is one of the hub's, rather than of a file or a folder, even if there is no
    such file."""
    names_file = name.startswith((".", "/", "~")) or name.endswith(".gguf")
    return not names_file and not Path(name).exists()


def _in_folder(name: str, folder: Path) -> Checkpoint:
    if (folder / "config.json").is_file():
        return Checkpoint(name, folder)
    ggufs = sorted(folder.glob("*.gguf"))
    if len(ggufs) == 1:
        return _in_gguf_file(name, ggufs[0])
    if ggufs:
        listed = ", ".join(path.name for path in ggufs)
        raise ConfigError(f"model {name!r}: {folder} has several GGUF files, name one: {listed}")
    raise ConfigError(f"model {name!r}: {folder} has no config.json and no GGUF file")


def _in_gguf_file(name: str, path: Path) -> Checkpoint:
    # Read by transformers with torch, which checkpoints in folders don't need.
    load = load_object("octavo.core.checkpoints.gguf.gguf_checkpoint:GgufCheckpoint")
    checkpoint: Checkpoint = load(name, path)
    return checkpoint


def _download(name: str) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    logger.info("looking for %s on the Hugging Face hub", name)
    try:
        folder = Path(huggingface_hub.snapshot_download(name, allow_patterns=_HUB_PATTERNS))
        if not (folder / WHOLE).is_file() and (folder / INDEX).is_file():
            shards = [escape(shard) for shard in find_weights(folder).names]
            folder = Path(huggingface_hub.snapshot_download(name, allow_patterns=shards))
        return folder
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError, ValueError) as error:
        raise ConfigError(
            f"model {name!r} is neither a local folder nor available from the Hugging Face hub: "
            f"{error}"
        ) from error
