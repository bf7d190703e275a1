"""Which image features are kept, within a budget of bytes, and who still needs them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field


@dataclass
class _Entry:
    num_bytes: int
    pinned_by: set[str] = field(default_factory=set)
    encoded: bool = False


class EncoderCacheManager:
    """Bookkeeping of encoder outputs; the tensors belong to the encoder runner.

    An entry is pinned from the step that schedules its first token to the one that schedules
    its last; entries that nobody pins go in order of last use when room is needed.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used_bytes = 0
        self.pinned_bytes = 0
        self._pinned: dict[str, _Entry] = {}
        self._idle: OrderedDict[str, _Entry] = OrderedDict()
        self._evicted: list[str] = []

    def pin(self, key: str, num_bytes: int, request_id: str) -> bool:
        """Reserve an image's features for a request; False if there is no room for them."""
        entry = self._pinned.get(key)
        if entry is None:
            entry = self._idle.pop(key, None)
            if entry is None:
                if not self._make_room(num_bytes):
                    return False
                entry = _Entry(num_bytes)
                self.used_bytes += num_bytes
            self._pinned[key] = entry
            self.pinned_bytes += entry.num_bytes
        entry.pinned_by.add(request_id)
        return True

    def unpin(self, key: str, request_id: str) -> None:
        """The request no longer needs the features; features never computed are dropped."""
        entry = self._pinned.get(key)
        if entry is None:
            return
        entry.pinned_by.discard(request_id)
        if entry.pinned_by:
            return
        del self._pinned[key]
        self.pinned_bytes -= entry.num_bytes
        if entry.encoded:
            self._idle[key] = entry
        else:
            # A failed step may have computed them all the same.
            self._drop(key, entry)

    def needs_encoding(self, key: str) -> bool:
        """Whether a pinned entry has yet to be computed."""
        return not self._pinned[key].encoded

    def holds(self, key: str) -> bool:
        """Whether an entry's features are there now."""
        entry = self._pinned.get(key)
        return entry.encoded if entry is not None else key in self._idle

    def mark_encoded(self, key: str) -> None:
        """The encoder has run for this pinned entry."""
        self._pinned[key].encoded = True

    def take_evicted(self) -> list[str]:
        """Keys evicted since the last call, whose tensors are to be dropped."""
        evicted, self._evicted = self._evicted, []
        return evicted

    def _make_room(self, num_bytes: int) -> bool:
        if self.pinned_bytes + num_bytes > self.capacity:
            return False
        while self.used_bytes + num_bytes > self.capacity:
            self._drop(*self._idle.popitem(last=False))
        return True

    def _drop(self, key: str, entry: _Entry) -> None:
        self.used_bytes -= entry.num_bytes
        self._evicted.append(key)

    def check_integrity(self) -> None:
        """Raise AssertionError if the budget is broken or an entry is kept for nobody."""
        pinned = sum(entry.num_bytes for entry in self._pinned.values())
        idle = sum(entry.num_bytes for entry in self._idle.values())
        assert self.pinned_bytes == pinned
        assert self.used_bytes == pinned + idle <= self.capacity
        assert not set(self._pinned) & set(self._idle)
        assert all(entry.pinned_by for entry in self._pinned.values())
        assert all(entry.encoded and not entry.pinned_by for entry in self._idle.values())
