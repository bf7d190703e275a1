"""Images that were sent to the engine and are not encoded yet."""

from __future__ import annotations

from collections.abc import Iterable

from ...protocol.messages import MediaInput


class MediaInbox:
    """Each image's payload by its media key, kept until it is encoded or no request needs it."""

    def __init__(self) -> None:
        self._payloads: dict[str, MediaInput] = {}
        self._users: dict[str, set[str]] = {}

    def add(self, media: MediaInput, request_id: str) -> None:
        """A request shows this image, and may have brought it."""
        self._users.setdefault(media.media_key, set()).add(request_id)
        if media.payload is not None:
            self._payloads.setdefault(media.media_key, media)

    def supply(self, media: MediaInput) -> None:
        """An image that was asked for has come; dropped if nobody needs it any more."""
        if media.media_key in self._users:
            self._payloads.setdefault(media.media_key, media)

    def find(self, media_key: str) -> MediaInput | None:
        """The image with its payload, if it is here."""
        return self._payloads.get(media_key)

    def remove(self, media_key: str) -> None:
        """The image has been encoded."""
        self._payloads.pop(media_key, None)

    def release(self, media_keys: Iterable[str], request_id: str) -> None:
        """A request has ended."""
        for key in media_keys:
            users = self._users.get(key, set())
            users.discard(request_id)
            if not users:
                self._users.pop(key, None)
                self._payloads.pop(key, None)

    def check_integrity(self, live: Iterable[str]) -> None:
        """Raise AssertionError if an image is kept for nobody. live: the open requests."""
        assert set(self._payloads) <= set(self._users)
        assert all(self._users.values())
        assert set().union(*self._users.values()) <= set(live)
