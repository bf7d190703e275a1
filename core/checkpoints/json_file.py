"""JSON files of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..contracts.specs import JsonDict
from ..protocol.config import ConfigError
from .unreadable import unreadable


def read_json_file(path: Path) -> JsonDict:
    """A file that holds a JSON object. Raises ConfigError."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no JSON object")
    return content
