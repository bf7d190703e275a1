"""Requests that wait for images which the engine has asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...protocol.messages import MediaWanted
from .request import Request


class ParkedRequests:
    """Set aside, so that they are in nobody's way, until their images are supplied."""

    def __init__(self) -> None:
        self._requests: dict[str, Request] = {}
        self._missing: dict[str, set[str]] = {}
        self._waiting_for: dict[str, set[str]] = {}
        self._wanted: list[MediaWanted] = []

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests.values())

    def add(self, request: Request, missing: Iterable[str]) -> None:
        """Park a request that lacks images, and ask for them."""
        self._requests[request.request_id] = request
        self._missing[request.request_id] = set(missing)
        for key in self._missing[request.request_id]:
            self._waiting_for.setdefault(key, set()).add(request.request_id)
        self._wanted.append(MediaWanted(request.parent_id, sorted(missing)))

    def remove(self, request_id: str) -> bool:
        """Forget a request; False if it is not parked."""
        for key in self._missing.pop(request_id, ()):
            waiting = self._waiting_for[key]
            waiting.discard(request_id)
            if not waiting:
                del self._waiting_for[key]
        return self._requests.pop(request_id, None) is not None

    def supply(self, media_key: str) -> list[Request]:
        """An image has come; returns the requests that it leaves with nothing to wait for."""
        ready = []
        for request_id in self._waiting_for.pop(media_key, ()):
            self._missing[request_id].discard(media_key)
            if not self._missing[request_id]:
                ready.append(self._requests[request_id])
                self.remove(request_id)
        return ready

    def take_wanted(self) -> list[MediaWanted]:
        """What was asked for since the last call."""
        wanted, self._wanted = self._wanted, []
        return wanted
