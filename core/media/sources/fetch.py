"""Images from http: and https: URLs, only from hosts and addresses that are allowed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import ssl
import string
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

import httpcore

from ...protocol.media_error import MediaError
from .addresses import AllowedDomains, Network, refusal, split_netloc
from .fetch_backend import CheckedBackend, Resolver, system_resolver

logger = logging.getLogger(__name__)

_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)
_NEVER_IN_A_URL = re.compile(r"[\x00-\x20\x7f-\x9f\s\\]")
_LONGEST_NAME = 200
_HEADERS = (
    ("User-Agent", "octavo"),
    ("Accept", "image/*"),
    ("Accept-Encoding", "identity"),
    ("Connection", "close"),
)


@dataclass(frozen=True)
class _Url:
    """The parts of a URL that are checked, and that the request is made of: there is no other
    parser that could read it differently."""

    scheme: str
    host: str
    port: int
    target: str

    @classmethod
    def parse(cls, text: str) -> _Url:
        """Raises MediaError."""
        if _NEVER_IN_A_URL.search(text):
            raise MediaError(
                "a URL holds no spaces, control characters or backslashes; percent-encode them"
            )
        try:
            parts = urlsplit(text)
            path = quote(parts.path or "/", safe=string.printable)
            query = quote(parts.query, safe=string.printable)
        except ValueError as error:  # its message may hold a password
            raise MediaError("it can't be read as a URL; check how it is written") from error
        if parts.scheme not in _PORTS:
            raise MediaError("only http: and https: URLs can be fetched")
        if "@" in parts.netloc:
            raise MediaError("a user name or password in the URL is not sent; take it out")
        try:
            host, port = split_netloc(parts.netloc)
        except ValueError as error:
            raise MediaError(f"the URL's host can't be used: {error}") from error
        port = port or _PORTS[parts.scheme]
        return cls(parts.scheme, host, port, f"{path}?{query}" if query else path)

    @property
    def authority(self) -> str:
        """The host as in the Host header: with its port, unless that is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def join(self, location: bytes) -> str:
        """Where a Location header leads. Raises MediaError."""
        try:
            text = location.decode()
            if _NEVER_IN_A_URL.search(text):  # urljoin would drop some of them
                raise ValueError("spaces, control characters or backslashes")
            return urljoin(f"{self.scheme}://{self.authority}{self.target}", text)
        except ValueError as error:
            raise MediaError("it redirects to something that can't be read as a URL") from error

    def to_httpcore(self) -> httpcore.URL:
        """The same parts for the request."""
        return httpcore.URL(scheme=self.scheme, host=self.host, port=self.port, target=self.target)


#: Each may hold an image of the greatest size.
_MAX_CONCURRENT = 32


class MediaFetcher:
    """Fetches images by URL, from allowed domains and from public addresses only.

    domains: as in `AllowedDomains`; with none, nothing is fetched. max_bytes: of an image.
    timeout: seconds for all of one fetch, look-ups and redirects included. networks: IP networks
    that are allowed although they aren't public. resolve: host and port -> IP addresses.
    Certificates are verified with the system's, or those in SSL_CERT_FILE. Raises ValueError for
    a domain that can't be read.
    """

    def __init__(
        self,
        domains: Iterable[str],
        *,
        max_bytes: int,
        timeout: float,
        networks: Sequence[Network] = (),
        max_redirects: int = 3,
        resolve: Resolver = system_resolver,
    ) -> None:
        self._domains = AllowedDomains(domains)
        self._max_bytes = max_bytes
        self._timeout = timeout
        self._networks = networks
        self._max_redirects = max_redirects
        self._resolve = resolve
        self._ssl_context = ssl.create_default_context()
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT)

    async def fetch(self, url: str) -> bytes:
        """The bytes behind a URL, redirects followed. Raises MediaError, which names the URL
        without its query."""
        hops = [url]
        try:
            async with asyncio.timeout(self._timeout), self._slots:
                return await self._follow(hops)
        except TimeoutError as error:
            reason = f"it took longer than {self._timeout:g} s; try again, or send a data: URL"
            raise MediaError(f"{_name(hops)}: {reason}", "timeout") from error
        except MediaError as error:
            raise MediaError(f"{_name(hops)}: {error}", error.kind) from error

    async def _follow(self, hops: list[str]) -> bytes:
        """Fetch the last hop; each redirect adds one."""
        if not self._domains:
            raise MediaError(
                "this server fetches no images; send a data: URL, or start it with "
                "--allowed-media-domains"
            )
        for _ in range(self._max_redirects + 1):
            url = _Url.parse(hops[-1])
            self._check_domain(url)
            async with self._get(url, await self._checked_addresses(url)) as response:
                location = _location(response)
                if location is None:
                    return await self._read(response)
            hops.append(url.join(location))
        raise MediaError(
            f"it redirects more than {self._max_redirects} times; send the URL of the image itself"
        )

    def _check_domain(self, url: _Url) -> None:
        if not self._domains.allow(url.host, url.port, _PORTS[url.scheme]):
            raise MediaError(
                f"{url.authority} is not among the domains that images may come from; send a "
                "data: URL, or add it to allowed_media_domains (--allowed-media-domains)"
            )

    async def _checked_addresses(self, url: _Url) -> Sequence[str]:
        """Every address of the host, all of which may be connected to. Raises MediaError."""
        try:
            addresses = await self._resolve(url.host, url.port)
        except OSError as error:
            raise MediaError(
                f"the name {url.host} can't be resolved: {error.strerror or error}; check it, or "
                "try again",
                "unavailable",
            ) from error
        if not addresses:
            raise MediaError(f"the name {url.host} has no address; check it", "unavailable")
        for address in addresses:
            reason = refusal(address, self._networks)
            if reason is not None:
                logger.warning("no image from %s: its address %s is %s", url.host, address, reason)
                raise MediaError(
                    f"the host {url.host} has an address that is {reason}, from which no images "
                    "are fetched; use a public host, send a data: URL, or add its network to "
                    "allowed_media_networks (--allowed-media-networks)"
                )
        return addresses

    @contextlib.asynccontextmanager
    async def _get(self, url: _Url, addresses: Sequence[str]) -> AsyncIterator[httpcore.Response]:
        """A request on a connection of its own; failures of either become MediaErrors."""
        # One address that never answers leaves time for the others.
        backend = CheckedBackend(addresses, self._timeout / len(addresses))
        origin = url.to_httpcore()
        connection = httpcore.AsyncHTTPConnection(
            origin.origin, ssl_context=self._ssl_context, network_backend=backend
        )
        headers = [("Host", url.authority), *_HEADERS]
        try:
            async with connection.stream("GET", origin, headers=headers) as response:
                yield response
        except httpcore.TimeoutException as error:
            raise MediaError("its server doesn't answer; try again", "timeout") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            raise MediaError(
                f"its server can't be reached or broke off: {error or type(error).__name__}; "
                "try again",
                "unavailable",
            ) from error
        finally:
            await backend.close()

    async def _read(self, response: httpcore.Response) -> bytes:
        """The body, up to the limit. Raises MediaError."""
        headers = {name.lower(): value for name, value in response.headers}
        encoding = headers.get(b"content-encoding", b"identity").decode("latin-1")
        if encoding.lower() != "identity":
            raise MediaError(f"its server compressed it ({encoding}) unasked; send a data: URL")
        too_large = MediaError(
            f"it is larger than the {self._max_bytes} bytes allowed; send a smaller image"
        )
        if int(headers.get(b"content-length", b"0")) > self._max_bytes:
            raise too_large
        data = bytearray()
        async for chunk in response.aiter_stream():
            data += chunk
            if len(data) > self._max_bytes:
                raise too_large
        return bytes(data)


def _location(response: httpcore.Response) -> bytes | None:
    """The Location of a redirect; None for an image. Raises MediaError for other answers."""
    status = response.status
    if status == 200:
        return None
    if status not in _REDIRECTS:
        raise MediaError(
            f"its server answered with status {status}; "
            + ("try again" if status >= 500 else "check the URL"),
            "unavailable" if status >= 500 else "invalid",
        )
    for name, value in response.headers:
        if name.lower() == b"location":
            return value
    raise MediaError(f"its server answered with status {status} but no Location; check the URL")


def _name(hops: Sequence[str]) -> str:
    """The URL that was asked for, and where it led; without what may be secret."""
    first, last = _without_secrets(hops[0]), _without_secrets(hops[-1])
    return first if len(hops) == 1 else f"{first}, redirected to {last}"


def _without_secrets(url: str) -> str:
    """A URL without user name, password, query and fragment, as one short printable line."""
    place = re.split(r"[?#]", url, maxsplit=1)[0].rpartition("@")
    text = f"…@{place[2]}" if place[1] else place[2]
    shown = text if len(text) <= _LONGEST_NAME else text[:_LONGEST_NAME] + "…"
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shown)
