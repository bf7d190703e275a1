"""Files and folders that are not shown to people."""

from __future__ import annotations

#: Folders of systems and NAS boxes, with thumbnails and deleted files.
_SYSTEM_NAMES = frozenset(
    ("@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found", "__MACOSX")
)


def is_hidden_name(name: str) -> bool:
    """Of one part of a path."""
    return (name[:1] == "." and name not in (".", "..")) or name in _SYSTEM_NAMES


def is_hidden(member: str) -> bool:
    """Of an archive's member, if any part of its path is."""
    return any(map(is_hidden_name, member.split("/")))
