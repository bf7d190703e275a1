"""Images fetched from hosts, for callers that wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from ...core.media.sources.fetch import MediaFetcher
from ...core.protocol.config import ConfigError


class UrlReader:
    """Several threads may read at once. The event loop that fetches is one of its own, as callers
    may have one that runs, such as Jupyter's. From its making to `close`.

    domains, networks, timeout: see IntakeConfig; networks as texts. Raises ConfigError.
    """

    @classmethod
    def of(
        cls, domains: Sequence[str], networks: Sequence[str], timeout: float, max_bytes: int
    ) -> UrlReader | None:
        """None where no hosts are named."""
        return cls(domains, networks, timeout, max_bytes) if domains else None

    def __init__(
        self, domains: Sequence[str], networks: Sequence[str], timeout: float, max_bytes: int
    ) -> None:
        if isinstance(domains, str):
            raise ConfigError(f"allowed_media_domains is a list, such as [{domains!r}]")
        parsed = [_network(text) for text in networks]
        try:
            self._fetcher = MediaFetcher(
                domains, max_bytes=max_bytes, timeout=timeout, networks=parsed
            )
        except ValueError as error:
            raise ConfigError(f"allowed_media_domains: {error}") from error
        self._starting = threading.Lock()
        self._running: tuple[asyncio.AbstractEventLoop, threading.Thread] | None = None

    def read(self, url: str) -> bytes:
        """The bytes behind a URL. Raises MediaError."""
        fetching = asyncio.run_coroutine_threadsafe(self._fetcher.fetch(url), self._event_loop())
        try:
            return fetching.result()
        finally:
            fetching.cancel()  # a Ctrl-C may have come

    def close(self) -> None:
        """End the event loop; what is fetched still is given up."""
        if self._running is not None:
            loop, thread = self._running
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def _event_loop(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._running is None:
                loop = asyncio.new_event_loop()
                thread = threading.Thread(target=loop.run_forever, name="octavo-fetch", daemon=True)
                thread.start()
                self._running = loop, thread
            return self._running[0]


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ConfigError(f"allowed_media_networks: {error}") from error
