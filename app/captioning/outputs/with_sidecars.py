"""An output, and sidecars of the same captions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ....core.protocol.errors import RequestError
from .row import Row
from .sidecars import Sidecars
from .sink import Position, Sink


class WithSidecars:
    """Positions are the output's: sidecars need none."""

    def __init__(self, output: Sink, sidecars: Sidecars) -> None:
        self._output = output
        self._sidecars = sidecars
        self.takes_content = output.takes_content

    def check(self) -> None:
        """See Sink."""
        self._output.check()
        self._sidecars.check()

    def begin(self, position: Position, header: dict[str, Any] | None) -> Position:
        """See Sink."""
        self._sidecars.begin(position, header)
        return self._output.begin(position, header)

    def write(self, rows: Sequence[Row]) -> Position:
        """Sidecars first: they can be written again where the output's position hasn't moved."""
        self._sidecars.write(rows)
        return self._output.write(rows)

    def finish(self, rows: Callable[[], Iterator[Row]]) -> None:
        """See Sink."""
        self._sidecars.finish(rows)
        self._output.finish(rows)

    def obstacle(self, path: str | None) -> str | None:
        """Either's."""
        return self._output.obstacle(path) or self._sidecars.obstacle(path)

    def names(self) -> Iterable[str]:
        """Raises RequestError: what one has may be missing in the other."""
        raise RequestError("--only-missing goes by one output: leave out -o, or --sidecar")

    def end(self) -> Position:
        """See Sink."""
        return self._output.end()

    def has(self, path: str | None) -> bool:
        """False; `names` refuses."""
        return False
