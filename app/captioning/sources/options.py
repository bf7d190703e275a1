"""How sources are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import FileIO
from typing import BinaryIO

from ....core.protocol.media_limits import MediaLimits


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """column: of tables, with the pictures' paths, URLs or bytes; None is guessed by its name.
    stdin: what the source "-" reads its list from; None is the process's own.
    limits: max_bytes also bounds what is taken from a compressed tar while it is listed.
    """

    column: str | None = None
    stdin: BinaryIO | FileIO | None = None
    limits: MediaLimits = field(default_factory=MediaLimits)

    def list_stream(self) -> BinaryIO | FileIO:
        """What "-" is."""
        if self.stdin is not None:
            return self.stdin
        # Without a buffer: its lock would be held by a thread that still reads at the end.
        return FileIO(0, closefd=False)
