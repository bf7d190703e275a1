"""The doctor on what is installed: versions, and plugins."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from ... import __version__
from ...core.registry.registry import get_registry
from .finding import Remark

_TOLD = ("torch", "transformers", "tokenizers")


def look_at_versions() -> Iterator[Remark]:
    """Those that one is asked for, and packages that are missing or too old."""
    told = [f"octavo {__version__}", f"Python {platform.python_version()}"]
    told += [f"{name} {_version(name) or 'missing'}" for name in _TOLD]
    yield "ok", ", ".join(told)
    for line in requires("octavo") or ():
        needed = Requirement(line)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        found = _version(needed.name)
        if found is None or not needed.specifier.contains(found, prereleases=True):
            has = f"{needed.name} {found} is installed" if found else f"{needed.name} is missing"
            wanted = f"{needed.name}{needed.specifier}"
            yield "FAIL", f"{has}: octavo needs {wanted}; pip install '{wanted}'"


def look_at_plugins() -> Iterator[Remark]:
    """What packages bring, and plugins that were refused."""
    registry = get_registry()
    brought = Counter(registry.owners.values())
    for plugin in registry.plugins:
        if plugin.error is not None:
            advice = "update or uninstall its package, or see octavo plugins check"
            yield "FAIL", f"{plugin.name} ({plugin.source}) is refused: {plugin.error}; {advice}"
        elif plugin.source != "built-in":
            yield "ok", f"{plugin.name} ({plugin.source}) brings {brought[plugin.name]} things"
    built_in = sum(plugin.source == "built-in" for plugin in registry.plugins)
    yield "ok", f"{built_in} built-in; octavo plugins list says what they bring"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
