"""The questions of earlier conversations, for the arrow keys."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)

_MOST = 1000


def history_file() -> Path:
    """Where it is kept."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "octavo" / "chat_history"


class History:
    """A question a line, as JSON, for one may have several lines. Where the file can't be read or
    written, there is none, and nothing else is the worse for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = ""

    def load(self) -> list[str]:
        """The last ones, the oldest first; what is older is forgotten."""
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
            if len(lines) > 2 * _MOST:
                lines = lines[-_MOST:]
                self._path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        except OSError as error:
            logger.debug("no history: %s", error)
            return []
        entries = [entry for line in lines[-_MOST:] if (entry := _entry(line))]
        self._last = entries[-1] if entries else ""
        return entries

    def add(self, text: str) -> None:
        """Once for what is asked again at once. Only its owner can read the file."""
        if text == self._last:
            return
        self._last = text
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(self._path, "a", encoding="utf-8", opener=_private) as file:
                file.write(f"{json.dumps(text)}\n")
        except OSError as error:
            logger.debug("the history isn't kept: %s", error)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)


def _entry(line: str) -> str:
    try:
        entry = json.loads(line)
    except ValueError:
        return ""
    return entry if isinstance(entry, str) else ""
