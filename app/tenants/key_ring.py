"""The keys that are valid now: those of the file as it last was in order."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from ...core.protocol.config import ConfigError
from .key_entry import KeyEntry, hash_of
from .keys_file import is_open_to_others, read_keys

logger = logging.getLogger(__name__)

_POLL_S = 1.0


class Holder(NamedTuple):
    """Who sent a key: its name, and its entry as it is now. cache_scope: see RequestOptions."""

    name: str
    entry: KeyEntry
    cache_scope: str


class KeyRing:
    """path: of the file. shares_caches: whether holders of different keys may find what the others'
    prompts and images left in the caches. Raises ConfigError if the file is not in order at
    first."""

    def __init__(self, path: Path, shares_caches: bool = False) -> None:
        self._shares_caches = shares_caches
        self._path = path
        self._seen = self._version()
        try:
            self._keys = read_keys(path)
        except ValueError as error:
            raise ConfigError(f"--api-keys: {error}") from error
        self._warn_if_open()

    @property
    def names(self) -> list[str]:
        """Of all keys."""
        return list(self._keys)

    def find(self, key: str) -> Holder | None:
        """Whose key it is. It is compared with every one, so that the time that takes says
        nothing."""
        digest = hash_of(key)
        found = None
        for name, entry in self._keys.items():
            if hmac.compare_digest(digest, entry.sha256):
                found = self._holder(name, entry)
        return found

    def named(self, name: str) -> Holder | None:
        """Whose key has this name."""
        entry = self._keys.get(name)
        return None if entry is None else self._holder(name, entry)

    def _holder(self, name: str, entry: KeyEntry) -> Holder:
        return Holder(name, entry, "" if self._shares_caches else name)

    def refresh(self) -> None:
        """Read the file again if it is another one, or was written. One that is not in order
        changes nothing, and the log says what is wrong with it."""
        version = self._version()
        if version == self._seen:
            return
        self._seen = version
        try:
            keys = read_keys(self._path)
        except ValueError as error:
            logger.error("--api-keys: %s; the keys that were valid before still are", error)
            return
        if keys == self._keys:
            return
        gone, new = self._keys.keys() - keys.keys(), keys.keys() - self._keys.keys()
        self._keys = keys
        self._warn_if_open()
        logger.info(
            "%d API keys are valid now; new: %s; gone: %s",
            len(keys),
            ", ".join(sorted(new)) or "none",
            ", ".join(sorted(gone)) or "none",
        )

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Keep to the file as it changes."""
        task = asyncio.ensure_future(self._watch())
        try:
            yield
        finally:
            task.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_POLL_S)
            await asyncio.to_thread(self.refresh)

    def _version(self) -> tuple[int, ...]:
        """Another one for each state of the file; of one that is not there, nothing."""
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode

    def _warn_if_open(self) -> None:
        try:
            is_open = is_open_to_others(self._path)
        except OSError:
            return
        if is_open:
            logger.warning(
                "--api-keys: other users of this machine may read or write %s; chmod 600 %s",
                self._path,
                self._path,
            )
