"""The bytes of a request's body: bounded, and decoded if they are compressed."""

from __future__ import annotations

import asyncio
import gzip
import importlib.util
import io
import zlib
from collections.abc import AsyncGenerator, Iterator
from typing import Any

from starlette.requests import Request

from ...core.contracts.specs import load_object
from .errors import HttpError

#: Bytes decoded at once, which takes a few milliseconds; the event loop has its turn in between.
_PIECE = 2**20
#: What a Zstandard frame may ask for, as RFC 9659 bounds it for HTTP.
_MAX_ZSTD_WINDOW = 2**23
_CODINGS = ("gzip", "deflate") + (("zstd",) if importlib.util.find_spec("zstandard") else ())


def check_length(http: Request, max_bytes: int) -> None:
    """Raises HttpError, 413, for a body whose Content-Length says that it is larger."""
    length = http.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes:
        raise _too_large(max_bytes)


async def bounded_chunks(http: Request, max_bytes: int) -> AsyncGenerator[bytes]:
    """The body as it comes, in pieces. Raises HttpError, 413, for one of more than max_bytes, which
    its Content-Length tells before any of it is read."""
    check_length(http, max_bytes)
    total = 0
    async for chunk in http.stream():
        total = _counted(total, chunk, max_bytes)
        yield chunk


async def body_chunks(http: Request, max_bytes: int) -> AsyncGenerator[bytes]:
    """The body in pieces. Raises HttpError: 413 for one of more than max_bytes, compressed or
    not, which its Content-Length tells before any of it is read; 415 for a Content-Encoding that
    is not understood; 400 for a body that is not what its Content-Encoding says."""
    check_length(http, max_bytes)
    coding = _coding(http)
    if coding is None:
        async for chunk in bounded_chunks(http, max_bytes):
            yield chunk
        return
    compressed = bytearray()
    async for chunk in bounded_chunks(http, max_bytes):
        compressed += chunk
    total = 0
    pieces = _decoded(coding, bytes(compressed))
    while True:
        try:
            piece = next(pieces, b"")
        except (OSError, EOFError, zlib.error, _zstd_error()) as error:
            message = f"the body is not what its Content-Encoding {coding} says: {error}"
            raise HttpError(400, message) from error
        if not piece:
            return
        total = _counted(total, piece, max_bytes)
        yield piece
        await asyncio.sleep(0)


async def read_body(http: Request, max_bytes: int) -> bytes:
    """All of it; raises as `body_chunks` does."""
    data = bytearray()
    async for chunk in body_chunks(http, max_bytes):
        data += chunk
    return bytes(data)


def _coding(http: Request) -> str | None:
    named = http.headers.get("content-encoding", "").strip().lower().removeprefix("x-")
    if named in ("", "identity"):
        return None
    if named not in _CODINGS:
        raise HttpError(
            415,
            f"a body in Content-Encoding {named[:64]!r} is not understood here; send it as it is, "
            f"or in one of {', '.join(_CODINGS)}",
            headers={"Accept-Encoding": ", ".join(_CODINGS)},
        )
    return named


def _counted(total: int, chunk: bytes, max_bytes: int) -> int:
    total += len(chunk)
    if total > max_bytes:
        raise _too_large(max_bytes)
    return total


def _too_large(max_bytes: int) -> HttpError:
    return HttpError(413, f"the body is larger than {max_bytes} bytes")


def _decoded(coding: str, data: bytes) -> Iterator[bytes]:
    """In pieces of at most _PIECE bytes, made as they are asked for."""
    if coding == "deflate":
        return _inflated(data)
    reader: Any
    if coding == "gzip":
        reader = gzip.GzipFile(fileobj=io.BytesIO(data))
    else:
        decompressor = load_object("zstandard:ZstdDecompressor")
        reader = decompressor(max_window_size=_MAX_ZSTD_WINDOW).stream_reader(
            io.BytesIO(data), read_across_frames=True
        )
    return iter(lambda: reader.read(_PIECE), b"")


def _inflated(data: bytes) -> Iterator[bytes]:
    """zlib's format, as RFC 9110 has it, or without its header, as some clients send it."""
    has_header = len(data) > 1 and data[0] & 15 == 8 and int.from_bytes(data[:2]) % 31 == 0
    inflater = zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
    while piece := inflater.decompress(data, _PIECE):
        data = inflater.unconsumed_tail
        yield piece
    if not inflater.eof or inflater.unused_data:
        raise zlib.error("it is cut off, or has more after its end")


def _zstd_error() -> type[Exception]:
    if "zstd" not in _CODINGS:
        return zlib.error
    error: type[Exception] = load_object("zstandard:ZstdError")
    return error
