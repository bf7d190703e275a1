"""Names of models as Ollama's clients write them: with a tag, or without."""

from __future__ import annotations

from ..errors import HttpError

_DEFAULT_TAG = "latest"


def with_tag(name: str) -> str:
    """The name with a tag, `latest` unless it has one."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:{_DEFAULT_TAG}"


def check_name(name: str, served: str) -> None:
    """Raises HttpError for the name of a model that is not served."""
    if with_tag(name) != with_tag(served):
        raise HttpError(404, f"model {name[:100]!r} not found; served here: {served!r}", "model")
