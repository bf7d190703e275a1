"""Every field of POST /api/chat, /api/generate and /api/show; docs/api.md lists them, and a test
compares both."""

from __future__ import annotations

from typing import Any

import msgspec

from ..field_table import FieldTable
from .ollama_request import OllamaChatRequest, OllamaGenerateRequest

_NO_IMAGES = "the model gives text only"
_NOT_HERE = "the model is as its operator started it"
HARMLESS = {"keep_alive": "the model stays loaded for as long as the server runs"}
_FIXED: dict[str, tuple[Any, ...]] = {"truncate": (False,), "shift": (False,)}


class ShowRequest(msgspec.Struct):
    """model: by its name, or name: as older clients call it."""

    model: str | None = None
    name: str | None = None


CHAT_FIELDS = FieldTable(
    OllamaChatRequest,
    harmless=HARMLESS,
    fixed=_FIXED,
    free=frozenset({"messages", "tools", "format"}),
)
GENERATE_FIELDS = FieldTable(
    OllamaGenerateRequest,
    harmless=HARMLESS,
    # Clients write them so where they want nothing.
    fixed={**_FIXED, "suffix": ("",), "template": ("",), "context": ([],)},
    refused={"width": _NO_IMAGES, "height": _NO_IMAGES, "steps": _NO_IMAGES},
    free=frozenset({"format"}),
)
SHOW_FIELDS = FieldTable(
    ShowRequest,
    harmless={"verbose": "there is no more to tell"},
    refused=dict.fromkeys(("system", "template", "options"), _NOT_HERE),
)
