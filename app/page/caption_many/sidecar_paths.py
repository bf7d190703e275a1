"""Where sidecars are in a zip, so that unpacked beside the pictures they are theirs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ...captioning.outputs.sidecar_kinds import SidecarKind
from .album import Entry

_TXT = SidecarKind(".txt")
#: What Windows or a terminal would trip over.
_ODD = re.compile(r'[\x00-\x1f\x7f<>:"|?*]')


def sidecar_paths(entries: Iterable[Entry]) -> Iterator[str]:
    """Relative and within the folder where they are unpacked. Of pictures that differ by their
    ending only, the first has "a.txt", and others "a.png.txt", "a.png (2).txt"."""
    taken: set[str] = set()
    for entry in entries:
        path = _inside(entry.path)
        sidecar, number = _TXT.path(path), 1
        while sidecar.lower() in taken:
            sidecar = f"{path}.txt" if number == 1 else f"{path} ({number}).txt"
            number += 1
        taken.add(sidecar.lower())
        yield sidecar


def _inside(path: str) -> str:
    """Without what leads out of a folder."""
    parts = (_ODD.sub("_", part).rstrip(". ") for part in re.split(r"[/\\]", path))
    return "/".join(part for part in parts if part) or "picture"
