"""No URL, redirect or DNS answer leads the fetcher to an address that isn't public."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from octavo.core.media.sources.addresses import refusal
from octavo.core.media.sources.fetch import MediaFetcher
from octavo.core.media.sources.fetch_backend import Resolver, system_resolver
from octavo.core.protocol.media_error import MediaError

pytestmark = pytest.mark.anyio

PUBLIC = "93.184.215.14"
GOOD = "127.0.0.2"  # stands for a public server: the only address that is exempt
NETWORKS = [ip_network(f"{GOOD}/32")]
PICTURE = b"a picture"

# Hosts, and why each is refused although it is among the allowed domains.
HOSTS = {
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "10.0.0.1": "private",
    "10.255.255.255": "private",
    "172.16.0.1": "private",
    "172.31.255.254": "private",
    "192.168.0.1": "private",
    "192.168.255.254": "private",
    "169.254.169.254": "link-local",
    "168.63.129.16": "Azure",
    "100.100.100.200": "carrier-grade NAT",
    "198.18.0.1": "benchmarking",
    "203.0.113.7": "documentation",
    "192.0.0.192": "protocols",
    "224.0.0.1": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "0.0.0.0": "unspecified",
    "0.1.2.3": "unspecified",
    "[::]": "unspecified",
    "[::1]": "loopback",
    "[0:0:0:0:0:0:0:1]": "loopback",
    "[::ffff:127.0.0.1]": "IPv4-mapped",
    "[::ffff:a9fe:a9fe]": "IPv4-mapped",
    "[::ffff:127.0.0.2]": "IPv4-mapped",
    "[::127.0.0.1]": "IPv4-compatible",
    "[64:ff9b::7f00:1]": "NAT64",
    "[64:ff9b:1::7f00:1]": "NAT64",
    "[2002:7f00:1::1]": "6to4",
    "[2001:0:4136:e378:8000:63bf:80ff:fffe]": "Teredo",
    "[fd00:ec2::254]": "private",
    "[fe80::1]": "link-local",
    "[fec0::1]": "site-local",
    "[ff02::1]": "multicast",
    "[2001:db8::1]": "documentation",
    "2130706433": "loopback",
    "017700000001": "loopback",
    "0x7f000001": "loopback",
    "0177.0.0.1": "loopback",
    "0x7f.0.0.1": "loopback",
    "127.1": "loopback",
    "127.0.1": "loopback",
    "2852039166": "link-local",
    "0": "unspecified",
    "127.0.0.1.": "loopback",
    "１２７.0.0.1": "loopback",
    "127。0。0。1": "loopback",
    "localhost": "loopback",
    "LocalHost.": "loopback",
    "internal.test": "private",
    "public-first.test": "loopback",
    "loopback-first.test": "loopback",
    "scoped.test": "link-local",
    "garbage.test": "not an IP address",
}

NAMES = {
    "good.test": [GOOD],
    "internal.test": ["10.0.0.5"],
    "public-first.test": [PUBLIC, "127.0.0.1"],
    "loopback-first.test": ["127.0.0.1", PUBLIC],
    "scoped.test": ["fe80::1%lo"],
    "garbage.test": ["127.0.0.1:80"],
}

# Spellings that parsers read differently; 127.0.0.1 and good.test are allowed domains.
TRICKS = {
    "user": "http://good.test@127.0.0.1:{port}/",
    "user and password": "http://good.test:80@127.0.0.1:{port}/",
    "user is the address": "http://127.0.0.1:{port}@good.test/",
    "two at signs": "http://a@127.0.0.1:{port}@good.test/",
    "escaped slash": "http://127.0.0.1:{port}%2f@good.test/",
    "backslash": "http://127.0.0.1:{port}\\@good.test/",
    "backslash as slash": "http:\\\\127.0.0.1:{port}\\",
    "space": "http://127.0.0.1:{port} good.test/",
    "tab": "http://127.0.0.1\t:{port}/",
    "no-break space": "http://127.0.0.1:{port}\u00a0@good.test/",
    "escaped NUL": "http://127.0.0.1%00.good.test:{port}/",
    "escaped host": "http://%31%32%37.0.0.1:{port}/",
    "two ports": "http://127.0.0.1:{port}:80/",
    "port above the range": "http://127.0.0.1:65616/",
    "full-width port": "http://127.0.0.1:８０/",
    "IPv4 in brackets": "http://[127.0.0.1]:{port}/",
    "scope id": "http://[::1%25lo]:{port}/",
    "scope id of a link": "http://[fe80::1%lo]:{port}/",
    "future address": "http://[v1.127.0.0.1]:{port}/",
    "text after brackets": "http://[::1]good.test:{port}/",
    "slash by NFKC": "http://127.0.0.1\uff0f.good.test:{port}/",
    "no scheme": "//127.0.0.1:{port}/",
    "gopher": "gopher://127.0.0.1:{port}/_x",
    "ftp": "ftp://127.0.0.1:{port}/x.png",
    "file": "file:///etc/passwd",
    "data": "data:image/png;base64,AAAA",
    "unix socket": "http+unix://%2Frun%2Fdocker.sock/x",
}


@contextmanager
def recorded_connects() -> Iterator[list[str]]:
    """The addresses of every socket that this process connects meanwhile."""
    _CONNECTS.clear()
    yield _CONNECTS


_CONNECTS: list[str] = []


def _record(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        _CONNECTS.append(arguments[1][0])


@pytest.fixture(scope="module", autouse=True)
def _audit() -> None:
    sys.addaudithook(_record)  # it can't be taken away again


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Listener:
    """A server that counts connections and answers with a picture or a redirect."""

    port: int = 0
    accepts: int = 0
    redirect_to: str | None = None
    targets: list[str] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepts += 1
        head = await reader.readuntil(b"\r\n\r\n")
        self.targets.append(head.split()[1].decode())
        if self.redirect_to is None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PICTURE) + PICTURE)
        else:
            location = self.redirect_to.encode()
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def listening(host: str) -> AsyncIterator[Listener]:
    listener = Listener()
    server = await asyncio.start_server(listener.answer, host, 0)
    listener.port = server.sockets[0].getsockname()[1]
    async with server:
        yield listener


@dataclass
class Scene:
    """A victim that nothing may reach, a good server, and a fetcher that allows both as domains,
    and every host of the table at the victim's port."""

    victim: Listener
    good: Listener
    media: MediaFetcher

    @property
    def accepts(self) -> tuple[int, int]:
        return self.good.accepts, self.victim.accepts


async def resolve(host: str, port: int) -> Sequence[str]:
    return NAMES[host] if host in NAMES else await system_resolver(host, port)


def fetcher(domains: Sequence[str], resolver: Resolver = resolve) -> MediaFetcher:
    return MediaFetcher(domains, max_bytes=1000, timeout=5, networks=NETWORKS, resolve=resolver)


@pytest.fixture(scope="module")
async def servers() -> AsyncIterator[Scene]:
    async with listening("127.0.0.1") as victim, listening(GOOD) as good:
        domains = [f"{host}:{victim.port}" for host in HOSTS]
        yield Scene(victim, good, fetcher([*domains, "good.test", f"good.test:{good.port}"]))


@pytest.fixture
def scene(servers: Scene) -> Scene:
    for listener in (servers.victim, servers.good):
        listener.accepts, listener.redirect_to = 0, None
        listener.targets.clear()
    return servers


async def refused(media: MediaFetcher, url: str) -> str:
    with pytest.raises(MediaError) as caught:
        await media.fetch(url)
    assert caught.value.kind == "invalid"
    return str(caught.value)


@pytest.mark.parametrize("host", HOSTS)
async def test_a_host_is_refused_directly(scene: Scene, host: str) -> None:
    with recorded_connects() as connects:
        message = await refused(scene.media, f"http://{host}:{scene.victim.port}/x.png")
    assert HOSTS[host] in message.partition("has an address that is")[2]
    assert (connects, scene.accepts) == ([], (0, 0))


@pytest.mark.parametrize("host", HOSTS)
async def test_a_host_is_refused_behind_a_redirect(scene: Scene, host: str) -> None:
    scene.good.redirect_to = f"http://{host}:{scene.victim.port}/x.png"
    with recorded_connects() as connects:
        message = await refused(scene.media, f"http://good.test:{scene.good.port}/")
    assert "redirected to" in message
    assert HOSTS[host] in message.partition("has an address that is")[2]
    assert (connects, scene.accepts) == ([GOOD], (1, 0))


@pytest.mark.parametrize("trick", TRICKS)
async def test_a_trick_is_refused_directly(scene: Scene, trick: str) -> None:
    with recorded_connects() as connects:
        await refused(scene.media, TRICKS[trick].format(port=scene.victim.port))
    assert (connects, scene.accepts) == ([], (0, 0))


@pytest.mark.parametrize("trick", TRICKS)
async def test_a_trick_is_refused_behind_a_redirect(scene: Scene, trick: str) -> None:
    scene.good.redirect_to = TRICKS[trick].format(port=scene.victim.port)
    with recorded_connects() as connects:
        await refused(scene.media, f"http://good.test:{scene.good.port}/")
    assert (connects, scene.accepts) == ([GOOD], (1, 0))


@pytest.mark.parametrize("suffix", ["#@127.0.0.1:{port}/", "/@127.0.0.1:{port}/", "?@127.0.0.1/"])
async def test_an_at_sign_behind_the_host_is_no_host(scene: Scene, suffix: str) -> None:
    url = f"http://good.test:{scene.good.port}{suffix.format(port=scene.victim.port)}"
    with recorded_connects() as connects:
        assert await scene.media.fetch(url) == PICTURE
    assert (connects, scene.accepts) == ([GOOD], (1, 0))


async def test_answers_that_change_between_calls(scene: Scene) -> None:
    """One look-up a hop: the address that was checked is the one that is connected to."""
    answers = iter([[GOOD], ["127.0.0.1"], ["127.0.0.1"]])
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return next(answers)

    ports = (scene.victim.port, scene.good.port)
    media = fetcher([f"rebind.test:{port}" for port in ports], rebinding)
    with recorded_connects() as connects:
        assert await media.fetch(f"http://rebind.test:{scene.good.port}/") == PICTURE
        assert (len(asked), connects) == (1, [GOOD])
        assert "loopback" in await refused(media, f"http://rebind.test:{scene.victim.port}/")
    assert (len(asked), connects, scene.accepts) == (2, [GOOD], (1, 0))


async def test_answers_that_change_between_hops(scene: Scene) -> None:
    answers = iter([[GOOD], [PUBLIC, "127.0.0.1"]])

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return next(answers)

    scene.good.redirect_to = "/again"
    media = fetcher([f"rebind.test:{scene.good.port}"], rebinding)
    with recorded_connects() as connects:
        assert "loopback" in await refused(media, f"http://rebind.test:{scene.good.port}/")
    assert (connects, scene.good.targets) == ([GOOD], ["/"])


EMBEDDINGS: Mapping[str, int] = {
    "IPv4-mapped": int(IPv6Address("::ffff:0:0")),
    "NAT64": int(IPv6Address("64:ff9b::")),
    "local NAT64": int(IPv6Address("64:ff9b:1::")),
    "6to4": int(IPv6Address("2002::")),
    "Teredo": int(IPv6Address("2001::")),
    "IPv4-compatible": 0,
}


@pytest.mark.parametrize("embedding", EMBEDDINGS)
@given(st.ip_addresses(v=4))
def test_an_embedded_address_is_refused_whatever_it_is(
    embedding: str, address: IPv4Address
) -> None:
    shift = 80 if embedding == "6to4" else 0
    embedded = IPv6Address(EMBEDDINGS[embedding] + (int(address) << shift))
    assert refusal(str(embedded)) is not None
    assert refusal(str(embedded), [ip_network("0.0.0.0/0")]) is not None


@given(st.ip_addresses())
def test_what_the_standard_library_holds_for_special_is_refused(
    address: IPv4Address | IPv6Address,
) -> None:
    special = (
        address.is_loopback
        or address.is_private
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address.is_reserved
        or not address.is_global
    )
    if special:
        assert refusal(str(address)) is not None


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", PUBLIC, "172.15.255.255", "172.32.0.1", "192.167.255.255", "100.63.255.255",
     "100.128.0.1", "169.253.0.1", "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::8a"],
)  # fmt: skip
def test_public_addresses_are_allowed(address: str) -> None:
    assert refusal(address) is None


def test_exempt_networks() -> None:
    exempt = [ip_network("10.1.0.0/16"), ip_network("fd00:1::/32")]
    assert refusal("10.1.2.3", exempt) is None
    assert refusal("fd00:1::5", exempt) is None
    assert refusal("10.2.0.1", exempt) == "private"
    assert refusal("::ffff:10.1.2.3", exempt) == "IPv4-mapped"
    assert refusal("64:ff9b::a01:203", exempt) == "of a NAT64"
    assert refusal("::ffff:10.1.2.3", [ip_network("::ffff:10.1.0.0/112")]) is None


def test_what_is_no_address_is_refused() -> None:
    for text in ("", "localhost", "127.1", "010.0.0.1", "1.1.1.1:80", "2606:4700::1111%eth0"):
        assert refusal(text) is not None


def test_the_system_resolver_reads_odd_spellings() -> None:
    """What the table above rests on: here they mean addresses, so the check must see those."""
    for host in ("2130706433", "0177.0.0.1", "0x7f.1", "127.1"):
        assert {a[4][0] for a in socket.getaddrinfo(host, 80)} == {"127.0.0.1"}


async def nowhere(host: str, port: int) -> Sequence[str]:
    raise OSError("no such host")


UNRESOLVED = MediaFetcher(["good.test"], max_bytes=9, timeout=5, resolve=nowhere)


@given(st.text(), st.sampled_from(["", "http://", "https://", "http://good.test", "http://["]))
def test_any_text_gives_a_media_error(text: str, start: str) -> None:
    with pytest.raises(MediaError) as caught:
        asyncio.run(UNRESOLVED.fetch(start + text))
    assert str(caught.value).isprintable()
