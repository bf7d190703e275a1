"""Images by URL, from real servers on loopback."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trustme
from octavo.core.media.sources.fetch import MediaFetcher
from octavo.core.media.sources.fetch_backend import Resolver
from octavo.core.protocol.media_error import MediaError

pytestmark = pytest.mark.anyio

LOOPBACK = [ip_network("127.0.0.0/8"), ip_network("::1/128")]
PICTURES = Path(__file__).parents[3] / "examples" / "images"
PICTURE = bytes(range(256)) * 4
NAMES = {"images.test": ["127.0.0.1"], "cdn.images.test": ["127.0.0.1"],
         "xn--bcher-kva.test": ["127.0.0.1"], "other.test": ["127.0.0.1"]}  # fmt: skip

#: What a server says after a request's head: bytes, or a function that writes them.
Answer = bytes | Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def response(status: int, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def redirect(location: str, status: int = 302, *headers: str) -> bytes:
    return response(status, b"", f"Location: {location}", *headers)


@dataclass
class Server:
    """What each path is answered with, and the heads of the requests that came."""

    answers: Mapping[str, Answer]
    port: int = 0
    heads: list[str] = field(default_factory=list)
    peers: list[str] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client or the test went away
        finally:
            self.closed.set()
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.peers.append(writer.get_extra_info("sockname")[0])
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        answer = self.answers[head.split()[1]]
        if isinstance(answer, bytes):
            writer.write(answer)
            await writer.drain()
        else:
            await answer(reader, writer)

    @property
    def targets(self) -> list[str]:
        return [head.split()[1] for head in self.heads]

    def header(self, name: str) -> str | None:
        """A header of the last request."""
        lines = dict(line.split(": ", 1) for line in self.heads[-1].strip().split("\r\n")[1:])
        return {key.lower(): value for key, value in lines.items()}.get(name.lower())


@asynccontextmanager
async def serving(
    answers: Mapping[str, Answer], host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    served = Server(answers)
    server = await asyncio.start_server(served.serve, host, 0, ssl=tls)
    served.port = server.sockets[0].getsockname()[1]
    before = asyncio.all_tasks()
    try:
        yield served
    finally:
        server.close()
        handlers = asyncio.all_tasks() - before
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


async def resolve(host: str, port: int) -> Sequence[str]:
    return NAMES.get(host, [host])


def fetcher(
    *ports: int, resolver: Resolver = resolve, timeout: float = 5, **settings: Any
) -> MediaFetcher:
    """One that may fetch from every name above, at the given ports."""
    domains = [f"{host}:{port}" for port in ports for host in ["images.test", "*.images.test"]]
    return MediaFetcher(
        settings.pop("domains", domains),
        max_bytes=settings.pop("max_bytes", len(PICTURE)),
        timeout=timeout,
        networks=LOOPBACK,
        resolve=resolver,
        **settings,
    )


async def failure(media: MediaFetcher, url: str, kind: str) -> str:
    with pytest.raises(MediaError) as caught:
        await media.fetch(url)
    assert caught.value.kind == kind, caught.value
    return str(caught.value)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def anyone() -> Iterator[int]:
    """The port of Python's own HTTP server, which shows the example pictures."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=PICTURES)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


async def test_a_picture_from_a_real_server(anyone: int) -> None:
    picture = (PICTURES / "dog.png").read_bytes()
    media = fetcher(anyone, max_bytes=len(picture))
    assert await media.fetch(f"http://images.test:{anyone}/dog.png") == picture
    assert "status 404" in await failure(media, f"http://images.test:{anyone}/x.png", "invalid")


async def test_by_the_systems_resolver(anyone: int) -> None:
    media = MediaFetcher([f"localhost:{anyone}"], max_bytes=2**20, timeout=5, networks=LOOPBACK)
    picture = (PICTURES / "dog.png").read_bytes()
    assert await media.fetch(f"http://localhost:{anyone}/dog.png") == picture


async def test_the_request() -> None:
    cookie = "Set-Cookie: a=b; Path=/"
    answers = {"/": redirect("/p.png", 302, cookie), "/p.png": response(200, PICTURE)}
    async with serving(answers) as server:
        assert await fetcher(server.port).fetch(f"http://images.test:{server.port}") == PICTURE
        assert server.header("Host") == f"images.test:{server.port}"
    assert server.targets == ["/", "/p.png"]
    assert server.header("Accept") == "image/*"
    assert server.header("Accept-Encoding") == "identity"
    assert server.header("User-Agent") == "octavo"
    assert server.header("Cookie") is None


@pytest.mark.parametrize(
    ("text", "host", "target"),
    [
        ("http://images.test:{port}/ü.png?ä=%20#part", "images.test", "/%C3%BC.png?%C3%A4=%20"),
        ("HTTP://IMAGES.Test.:{port}?x=1", "images.test", "/?x=1"),
        ("http://bücher.test:{port}/a|b[1].png", "xn--bcher-kva.test", "/a|b[1].png"),
        ("http://127.0.0.1:{port}//a/../b;c?", "127.0.0.1", "//a/../b;c"),
    ],
)  # fmt: skip
async def test_how_a_url_is_sent(text: str, host: str, target: str) -> None:
    async with serving({target: response(200, PICTURE)}) as server:
        media = fetcher(domains=[f"{host}:{server.port}"])
        assert await media.fetch(text.format(port=server.port)) == PICTURE
    assert server.header("Host") == f"{host}:{server.port}"


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this machine has no IPv6")
async def test_an_ipv6_address() -> None:
    async with serving({"/": response(200, PICTURE)}, "::1") as server:
        media = fetcher(domains=[f"[0::1]:{server.port}"])
        assert await media.fetch(f"http://[::0:1]:{server.port}/") == PICTURE
    assert server.header("Host") == f"[::1]:{server.port}"


@pytest.mark.parametrize(
    ("domain", "url", "allowed"),
    [
        ("Images.Test", "http://images.test/", True),
        ("images.test.", "https://images.test:443/", True),
        ("images.test", "http://images.test:8080/", False),
        ("images.test", "http://images.test:443/", False),
        ("images.test:8080", "http://images.test:8080/", True),
        ("images.test:8080", "http://images.test/", False),
        ("images.test:80", "http://images.test/", True),
        ("images.test", "http://cdn.images.test/", False),
        ("images.test", "http://images.test.evil.test/", False),
        ("*.images.test", "http://a.b.images.test/", True),
        ("*.images.test", "http://images.test/", False),
        ("*.images.test", "http://evilimages.test/", False),
        ("*.images.test:81", "http://cdn.images.test:81/", True),
        ("bücher.test", "http://xn--bcher-kva.test/", True),
        ("xn--bcher-kva.test", "http://BÜCHER.test/", True),
        ("[::1]", "http://[0:0::1]/", True),
    ],
)
async def test_which_domains_are_allowed(domain: str, url: str, allowed: bool) -> None:
    async def nowhere(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    media = fetcher(domains=[domain], resolver=nowhere)
    message = await failure(media, url, "unavailable" if allowed else "invalid")
    assert ("can't be resolved: Name or service not known" in message) == allowed
    assert ("--allowed-media-domains" in message) != allowed


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("https://images.test", "write the host alone"),
        ("images.test/path", "write the host alone"),
        ("user@images.test", "write the host alone"),
        ("*", "would allow every host"),
        ("*.", "the host is empty"),
        ("", "the host is empty"),
        ("im*ges.test", "not a valid name"),
        ("*.*.test", "not a valid name"),
        ("a..test", "not a valid name"),
        ("images.test:99999", "between 1 and 65535"),
        ("images.test:http", "host:port"),
        ("::1", "host:port"),
        ("[::1%lo]", "scope id"),
        ("images test", "not a valid name"),
        ("a" * 64 + ".test", "not a valid name"),
        ("ä" * 300, "at most 253"),
    ],
)
def test_a_domain_that_cant_be_read(entry: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        fetcher(domains=["images.test", entry])
    assert "--allowed-media-domains" in str(caught.value)
    assert repr(entry) in str(caught.value)


async def test_without_domains_nothing_is_fetched() -> None:
    message = await failure(fetcher(domains=[]), "http://images.test/", "invalid")
    assert "--allowed-media-domains" in message


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    [
        "p.png",
        "/a/p.png",
        "../a/p.png",
        "//cdn.images.test:{port}/a/p.png",
        "http://cdn.images.test:{port}/a/p.png#x",
    ],
)
async def test_redirects(status: int, location: str) -> None:
    answers: dict[str, Answer] = {"/a/p.png": response(200, PICTURE)}
    async with serving(answers) as server:
        answers["/a/start"] = redirect(location.format(port=server.port), status)
        media = fetcher(server.port)
        assert await media.fetch(f"http://images.test:{server.port}/a/start") == PICTURE
    host = "cdn.images.test" if "cdn" in location else "images.test"
    assert server.header("Host") == f"{host}:{server.port}"


async def test_redirects_are_counted() -> None:
    answers: dict[str, Answer] = {f"/{i}": redirect(f"/{i + 1}") for i in range(3)}
    answers |= {"/3": response(200, PICTURE), "/loop": redirect("/loop"), "/start": redirect("/0")}
    async with serving(answers) as server:
        base, media = f"http://images.test:{server.port}", fetcher(server.port)
        assert await media.fetch(f"{base}/0") == PICTURE
        assert "more than 3 times" in await failure(media, f"{base}/start", "invalid")
        server.heads.clear()
        assert "more than 3 times" in await failure(media, f"{base}/loop", "invalid")
        assert len(server.heads) == 4
        none = fetcher(server.port, max_redirects=0)
        assert "more than 0 times" in await failure(none, f"{base}/loop", "invalid")


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("ftp://images.test/p.png", "only http: and https:"),
        ("file:///etc/passwd", "only http: and https:"),
        ("data:image/png;base64,AAAA", "only http: and https:"),
        ("http://other.test/", "other.test is not among the domains"),
        ("http://images.test:1/", "images.test:1 is not among the domains"),
        ("http://a:b@images.test/", "a user name or password"),
        ("/a b.png", "can't be read as a URL"),
        ("/\udcff", "can't be read as a URL"),
        ("http://[images.test/", "can't be read as a URL"),
    ],
)
async def test_a_redirect_that_isnt_followed(location: str, reason: str) -> None:
    raw = redirect("?").replace(b"?", location.encode(errors="surrogateescape"))
    async with serving({"/": raw}) as server:
        url = f"http://images.test:{server.port}/"
        assert reason in await failure(fetcher(server.port), url, "invalid")
    assert len(server.heads) == 1


async def wait_forever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()  # until the client goes


def head_then_nothing(head: bytes) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await wait_forever(reader, writer)

    return answer


def endless(head: bytes, chunk: bytes) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(chunk)
            await writer.drain()

    return answer


LIMIT = len(PICTURE)
CHUNK = b"400\r\n" + b"x" * 1024 + b"\r\n"
TOO_LARGE: dict[str, Answer] = {
    # The body never comes: the header alone must do.
    "announced": head_then_nothing(b"HTTP/1.1 200 x\r\nContent-Length: %d\r\n\r\n" % (LIMIT + 1)),
    "announced as huge": head_then_nothing(
        b"HTTP/1.1 200 x\r\nContent-Length: 9999999999999999\r\n\r\n"
    ),
    "until the end": b"HTTP/1.1 200 x\r\n\r\n" + PICTURE + b"x",
    "endless": endless(b"HTTP/1.1 200 x\r\n\r\n", b"x" * 1024),
    "endless chunks": endless(b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNK),
    "endless with a small length": endless(
        b"HTTP/1.1 200 x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNK
    ),
}


@pytest.mark.parametrize("case", TOO_LARGE)
async def test_too_large(case: str) -> None:
    async with serving({"/": TOO_LARGE[case]}) as server:
        url = f"http://images.test:{server.port}/"
        message = await failure(fetcher(server.port), url, "invalid")
    assert f"larger than the {LIMIT} bytes allowed" in message


@pytest.mark.parametrize(
    "answer",
    [
        response(200, PICTURE),
        b"HTTP/1.1 200 x\r\n\r\n" + PICTURE,
        b"HTTP/1.0 200 x\r\n\r\n" + PICTURE,
        b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n" + PICTURE + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 100 x\r\n\r\n" + response(200, PICTURE),
    ],
)
async def test_just_small_enough(answer: bytes) -> None:
    async with serving({"/": answer}) as server:
        assert await fetcher(server.port).fetch(f"http://images.test:{server.port}/") == PICTURE


def drip(head: bytes) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    return answer


async def slow_redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.4)  # less than the timeout, but not three times
    writer.write(redirect("/"))


SLOW: dict[str, Answer] = {
    "silent": wait_forever,
    "dripping head": drip(b"HTTP/1.1 200 x\r\nX: "),
    "dripping body": drip(b"HTTP/1.1 200 x\r\nContent-Length: 1000\r\n\r\n"),
    "dripping body without a length": drip(b"HTTP/1.1 200 x\r\n\r\n"),
    "redirects": slow_redirect,
}


@pytest.mark.parametrize("case", SLOW)
async def test_a_slow_server(case: str) -> None:
    async with serving({"/": SLOW[case]}) as server:
        media = fetcher(server.port, timeout=1)
        message = await failure(media, f"http://images.test:{server.port}/", "timeout")
        await asyncio.wait_for(server.closed.wait(), 60)
    assert "longer than 1 s" in message


async def test_a_stalled_name_server() -> None:
    async def stalled(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(60)
        return ["127.0.0.1"]

    media = fetcher(80, resolver=stalled, timeout=0.3)
    await failure(media, "http://images.test:80/", "timeout")


async def test_waiting_for_others_counts() -> None:
    """More fetches than may run at once, none of which ever ends, time out together."""
    running: list[str] = []

    async def stalled(host: str, port: int) -> Sequence[str]:
        running.append(host)
        return await asyncio.get_running_loop().create_future()

    media = fetcher(80, resolver=stalled, timeout=0.3)
    fetches = (failure(media, "http://images.test:80/", "timeout") for _ in range(200))
    await asyncio.gather(*fetches)
    assert 0 < len(running) < 200


@contextmanager
def deaf_listener(host: str) -> Iterator[int]:
    """A port that answers no SYN, as behind a firewall: its queue is full."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind((host, 0))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield listener.getsockname()[1]


async def test_an_address_that_never_answers() -> None:
    with deaf_listener("127.0.0.3") as port:
        media = fetcher(domains=[f"127.0.0.3:{port}"], timeout=0.3)
        await failure(media, f"http://127.0.0.3:{port}/", "timeout")


async def test_the_next_address_is_tried() -> None:
    """Behind one that refuses and one that never answers."""

    async def three(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.4", "127.0.0.3", "127.0.0.1"]

    with deaf_listener("127.0.0.3") as port:
        served = Server({"/": response(200, PICTURE)})
        server = await asyncio.start_server(served.serve, "127.0.0.1", port)
        async with server:
            media = fetcher(port, resolver=three, timeout=6)
            assert await media.fetch(f"http://images.test:{port}/") == PICTURE
    assert served.peers == ["127.0.0.1"]


async def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        message = await failure(fetcher(port), f"http://images.test:{port}/", "unavailable")
    assert "can't be reached" in message


async def test_a_name_without_addresses() -> None:
    async def empty(host: str, port: int) -> Sequence[str]:
        return []

    message = await failure(fetcher(80, resolver=empty), "http://images.test/", "unavailable")
    assert "images.test has no address" in message


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid"), (403, "invalid"), (404, "invalid"), (429, "invalid"), (204, "invalid"),
     (206, "invalid"), (304, "invalid"), (500, "unavailable"), (503, "unavailable")],
)  # fmt: skip
async def test_other_statuses(status: int, kind: str) -> None:
    async with serving({"/": f"HTTP/1.1 {status} x\r\n\r\n".encode()}) as server:
        url = f"http://images.test:{server.port}/"
        assert f"status {status}" in await failure(fetcher(server.port), url, kind)


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (b"", "unavailable", "disconnected without"),
        (b"hello\r\n\r\n", "unavailable", "broke off"),
        (b"HTTP/1.1 200 x\r\nContent-Length: 9\r\n\r\nhalf", "unavailable", "broke off"),
        (b"HTTP/1.1 200 x\r\nContent-Length: -1\r\n\r\n", "unavailable", "broke off"),
        (b"HTTP/1.1 200 x\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", "unavailable", ""),
        (b"HTTP/1.1 200 x\r\nX: " + b"x" * 200_000 + b"\r\n\r\n", "unavailable", "broke off"),
        (response(302), "invalid", "no Location"),
        (response(200, b"x", "Content-Encoding: gzip"), "invalid", "gzip"),
    ],
)
async def test_a_broken_answer(answer: bytes, kind: str, reason: str) -> None:
    async with serving({"/": answer}) as server:
        url = f"http://images.test:{server.port}/"
        assert reason in await failure(fetcher(server.port), url, kind)


async def test_messages_keep_secrets() -> None:
    async with serving({"/a": response(404), "/b": redirect("/a?token=SECRET")}) as server:
        base = f"http://images.test:{server.port}"
        answers = dict(server.answers)
        server.answers = {**answers, "/a?token=SECRET": answers["/a"]}
        media = fetcher(server.port)
        assert f"{base}/a:" in await failure(media, f"{base}/a?token=SECRET#SECRET", "invalid")
        message = await failure(media, f"{base}/b", "invalid")
        assert f"{base}/b, redirected to {base}/a:" in message
        assert "SECRET" not in message
    for url in (
        "http://user:SECRET@images.test/",
        "http://user:SECRET@images.test\uff0f/",
        "http:user:SECRET@images.test",
        "http://user:SECRET@[images.test/",
        "user:SECRET@x",
    ):
        message = await failure(media, url, "invalid")
        assert "SECRET" not in message
        assert "@" in message


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving({"/": response(200, PICTURE)}) as server, serving({}) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert await fetcher(server.port).fetch(f"http://images.test:{server.port}/") == PICTURE
    assert (len(server.peers), len(proxy.peers)) == (1, 0)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authority is the system's, for fetchers that are made from now on."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


def tls_for(authority: trustme.CA, name: str, asked: list[str | None]) -> ssl.SSLContext:
    """A server's side with a certificate for a name; asked collects the SNI of clients."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)

    def note(_socket: object, server_name: str | None, _context: object) -> None:
        asked.append(server_name)

    context.sni_callback = note
    return context


@pytest.mark.usefixtures("trusted")
async def test_tls_is_for_the_name_and_connects_to_the_address(authority: trustme.CA) -> None:
    async def only(host: str, port: int) -> Sequence[str]:
        assert host == "images.test"
        return ["127.0.0.5"]

    asked: list[str | None] = []
    tls = tls_for(authority, "images.test", asked)
    async with serving({"/": response(200, PICTURE)}, "127.0.0.5", tls) as server:
        media = fetcher(server.port, resolver=only)
        assert await media.fetch(f"https://images.test:{server.port}/") == PICTURE
    assert asked == ["images.test"]
    assert server.header("Host") == f"images.test:{server.port}"
    assert server.peers == ["127.0.0.5"]


@pytest.mark.usefixtures("trusted")
async def test_a_certificate_for_another_name(authority: trustme.CA) -> None:
    async with serving({}, tls=tls_for(authority, "other.test", [])) as server:
        url = f"https://images.test:{server.port}/"
        message = await failure(fetcher(server.port), url, "unavailable")
    assert "certificate" in message
    assert server.heads == []


async def test_a_certificate_that_nobody_signed(authority: trustme.CA) -> None:
    async with serving({}, tls=tls_for(authority, "images.test", [])) as server:
        url = f"https://images.test:{server.port}/"
        message = await failure(fetcher(server.port), url, "unavailable")
    assert "certificate" in message
    assert server.heads == []


async def test_tls_to_a_server_without_it() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.test\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await failure(fetcher(port), f"https://images.test:{port}/", "unavailable")


@pytest.mark.usefixtures("trusted")
async def test_a_handshake_that_stalls_leaves_no_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepted by the kernel alone
        port = silent.getsockname()[1]
        media = fetcher(port, timeout=0.3)
        before = len(os.listdir("/proc/self/fd"))
        await failure(media, f"https://images.test:{port}/", "timeout")
        assert len(os.listdir("/proc/self/fd")) == before


async def test_many_at_once() -> None:
    answers = {f"/{i}": response(200, b"%d" % i) for i in range(50)}
    async with serving(answers) as server:
        media = fetcher(server.port)
        urls = [f"http://images.test:{server.port}/{i}" for i in range(50)]
        assert await asyncio.gather(*map(media.fetch, urls)) == [b"%d" % i for i in range(50)]
