"""Responses that are kept, so that later requests can go on from them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

_MAX_BYTES = 64 * 2**20
MAX_AGE_S = 24 * 3600.0


@dataclass(frozen=True)
class StoredResponse:
    """In JSON. response: what its client got. items: the conversation up to it, with it."""

    response: bytes
    items: bytes

    @property
    def num_bytes(self) -> int:
        """Of both."""
        return len(self.response) + len(self.items)


class ResponseStore:
    """In the memory of the server's process: another process has others, and a server that is
    started again has none. Each has an owner, for whom alone it is there: the name of an API key,
    or nothing. The oldest make room for new ones, and all end by their age.

    clock: gives seconds.
    """

    def __init__(
        self,
        max_bytes: int = _MAX_BYTES,
        max_age_s: float = MAX_AGE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._clock = clock
        #: By owner and id, the oldest first, after the time at which each was kept.
        self._kept: dict[tuple[str, str], tuple[float, StoredResponse]] = {}
        self._num_bytes = 0

    def keep(self, response_id: str, stored: StoredResponse, owner: str = "") -> None:
        """Keep a response, if it is not larger than all may be together."""
        self._kept[owner, response_id] = self._clock(), stored
        self._num_bytes += stored.num_bytes
        self._drop_old()

    def get(self, response_id: str, owner: str = "") -> StoredResponse | None:
        """A response that is kept for this owner."""
        self._drop_old()
        found = self._kept.get((owner, response_id))
        return None if found is None else found[1]

    def delete(self, response_id: str, owner: str = "") -> None:
        """Keep a response no longer."""
        _, stored = self._kept.pop((owner, response_id))
        self._num_bytes -= stored.num_bytes

    def _drop_old(self) -> None:
        oldest_allowed = self._clock() - self._max_age_s
        for key, (kept_at, stored) in list(self._kept.items()):
            if kept_at >= oldest_allowed and self._num_bytes <= self.max_bytes:
                return
            del self._kept[key]
            self._num_bytes -= stored.num_bytes
