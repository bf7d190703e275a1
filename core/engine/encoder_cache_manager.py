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
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._evicted: list[str] = []

    @property
    def used_bytes(self) -> int:
        """Bytes of all entries, pinned or not."""
        return sum(entry.num_bytes for entry in self._entries.values())

    @property
    def pinned_bytes(self) -> int:
        """Bytes of the entries that requests still need."""
        return sum(entry.num_bytes for entry in self._entries.values() if entry.pinned_by)

    def pin(self, key: str, num_bytes: int, request_id: str) -> bool:
        """Reserve an image's features for a request; False if there is no room for them."""
        if key not in self._entries:
            if not self._make_room(num_bytes):
                return False
            self._entries[key] = _Entry(num_bytes)
        self._entries[key].pinned_by.add(request_id)
        self._entries.move_to_end(key)
        return True

    def unpin(self, key: str, request_id: str) -> None:
        """The request no longer needs the features; features never computed are dropped."""
        entry = self._entries.get(key)
        if entry is None:
            return
        entry.pinned_by.discard(request_id)
        if not entry.pinned_by and not entry.encoded:
            del self._entries[key]
            # A failed step may have computed them all the same.
            self._evicted.append(key)

    def needs_encoding(self, key: str) -> bool:
        """Whether a pinned entry has yet to be computed."""
        return not self._entries[key].encoded

    def mark_encoded(self, key: str) -> None:
        """The encoder has run for this entry."""
        self._entries[key].encoded = True

    def take_evicted(self) -> list[str]:
        """Keys evicted since the last call, whose tensors are to be dropped."""
        evicted, self._evicted = self._evicted, []
        return evicted

    def _make_room(self, num_bytes: int) -> bool:
        if self.pinned_bytes + num_bytes > self.capacity:
            return False
        excess = self.used_bytes + num_bytes - self.capacity
        for key in [k for k, entry in self._entries.items() if not entry.pinned_by]:
            if excess <= 0:
                break
            excess -= self._entries.pop(key).num_bytes
            self._evicted.append(key)
        return True

    def check_integrity(self) -> None:
        """Raise AssertionError if the budget is broken or an entry is kept for nobody."""
        assert self.used_bytes <= self.capacity
        for key, entry in self._entries.items():
            assert entry.pinned_by or entry.encoded, key
