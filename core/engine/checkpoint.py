"""A model's files: found locally or on the Hugging Face hub, and what their configs say."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..contracts import JsonDict
from .config import ConfigError
from .hf_config import complete_config

logger = logging.getLogger(__name__)

_HUB_PATTERNS = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]


@dataclass(frozen=True)
class Checkpoint:
    """A folder in Hugging Face format. name: as the operator gave it."""

    name: str
    path: Path

    @cached_property
    def config(self) -> JsonDict:
        """`config.json`, with what it leaves to transformers' defaults."""
        return complete_config(_read_json(self.path / "config.json"))

    @cached_property
    def generation_config(self) -> JsonDict:
        """`generation_config.json`; empty if there is none."""
        return _read_optional(self.path / "generation_config.json")

    @cached_property
    def image_processor_config(self) -> JsonDict:
        """The image part of `processor_config.json`, or `preprocessor_config.json`."""
        nested = _read_optional(self.path / "processor_config.json").get("image_processor")
        return nested or _read_optional(self.path / "preprocessor_config.json")

    @property
    def dtype(self) -> str | None:
        """The number format that the config names, if any."""
        for config in (self.config, self.config.get("text_config") or {}):
            dtype = config.get("dtype") or config.get("torch_dtype")
            if dtype:
                return str(dtype)
        return None

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """Tokens that end a generation: those of the generation config, or of the model's."""
        text_config = self.config.get("text_config") or {}
        for config in (self.generation_config, self.config, text_config):
            ids = config.get("eos_token_id")
            if ids is not None:
                return (ids,) if isinstance(ids, int) else tuple(ids)
        return ()

    def weight_files(self) -> Iterator[Path]:
        """The safetensors files. Raises ConfigError if there are none."""
        files = sorted(self.path.glob("*.safetensors"))
        if not files:
            raise ConfigError(
                f"{self.name}: no *.safetensors file in {self.path}; "
                "convert the checkpoint to safetensors first"
            )
        yield from files


def find_checkpoint(name: str) -> Checkpoint:
    """A local folder, or a hub repository, downloaded if it is not cached.

    Raises ConfigError if it is neither, or if its config can't be read.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        checkpoint = Checkpoint(name, path)
    elif path.exists() or name.startswith((".", "/", "~")):
        raise ConfigError(f"model {name!r} is not a folder with a config.json")
    else:
        checkpoint = Checkpoint(name, _download(name))
    if not (checkpoint.path / "config.json").is_file():
        raise ConfigError(f"model {name!r}: {checkpoint.path} has no config.json")
    return checkpoint


def _download(name: str) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    logger.info("looking for %s on the Hugging Face hub", name)
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=_HUB_PATTERNS))
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError, ValueError) as error:
        raise ConfigError(
            f"model {name!r} is neither a local folder nor available from the Hugging Face hub: "
            f"{error}"
        ) from error


def _read_optional(path: Path) -> JsonDict:
    return _read_json(path) if path.is_file() else {}


def _read_json(path: Path) -> JsonDict:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} can't be read: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no JSON object")
    return content
