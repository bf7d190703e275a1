"""What a store of encoder outputs is, for the built-in ones and for plugins."""

from __future__ import annotations

from typing import Protocol


class StoreError(Exception):
    """The store can't be reached, or doesn't answer in time."""


class StoreRefusedError(StoreError):
    """The store answered at once, and refused: it is full, say. Other operations may work."""


class EncoderStore(Protocol):
    """Bytes by key, shared by all who open the same URL; constructed as Class(url).

    Constructing connects to nothing, and raises ValueError for a URL that can't be right, without
    showing its password. All methods may be called from several threads at once, end within a
    bounded time and raise StoreError if they fail.
    """

    def get(self, key: str) -> bytes | None:
        """What was set last; None if there is nothing, or no longer."""
        ...

    def set(self, key: str, value: bytes, ttl_seconds: float | None) -> None:
        """Keep a value, until it has to go or its time is over; None is no time of its own. Then
        the key's lease ends, whoever holds it: nobody needs to compute what is there."""
        ...

    def delete(self, key: str) -> None:
        """Forget a value, if there is one."""
        ...

    def lease(self, key: str, owner: str, seconds: float) -> bool:
        """Whether `owner` now has the right to compute this key, for so many seconds from now:
        it was free, has expired or was the owner's already."""
        ...

    def release(self, key: str, owner: str) -> None:
        """Let a lease go, if it is this owner's."""
        ...

    def close(self) -> None:
        """Let connections go. What is called afterwards raises StoreError."""
        ...
