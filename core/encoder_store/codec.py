"""Features <-> the bytes of a stored entry, of which nothing is believed before it is checked.

An entry is a header of 64 bytes, little-endian, and the raw elements, compressed or not:

    magic "OCTF" | version | flags | dtype | rank | num_features, hidden_size (uint32 each)
    | payload length | uncompressed length (uint64 each) | digest (32 bytes)

The digest covers the rest of the header, the key and the payload, so that an entry under another
key is refused. It is a SHA-256, or with a secret an HMAC-SHA-256 (RFC 2104).
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass

import numpy as np

from .features import STORED_AS, Features

try:
    import zstandard
except ImportError:  # an optional dependency
    zstandard = None  # type: ignore[assignment]

_MAGIC = b"OCTF"
_VERSION = 1
_ZSTD, _SIGNED = 1, 2
_FIELDS = struct.Struct("<4sBBBBIIQQ")
_DIGEST_BYTES = 32
_HEADER_BYTES = _FIELDS.size + _DIGEST_BYTES
_DTYPES = tuple(STORED_AS)
INSTALL_ZSTANDARD = "install octavo[zstd]"


class BadEntryError(ValueError):
    """A stored entry that can't be trusted or read, and why."""


@dataclass(frozen=True)
class _Header:
    """The fields of a header that agree with each other and with the entry's length."""

    compressed: bool
    dtype: str
    shape: tuple[int, int]
    raw_bytes: int


def can_compress() -> bool:
    """Whether the package for compression is installed."""
    return zstandard is not None


def encode_entry(features: Features, key: str, *, compress: bool, secret: bytes | None) -> bytes:
    """The entry to be stored under this key.

    compress: with Zstandard, where that makes it smaller; needs `can_compress()`.
    secret: signs the entry; only who has it can write one that `decode_entry` takes.
    """
    array = np.ascontiguousarray(features.array)
    payload = raw = array.data.cast("B")
    flags = _SIGNED if secret is not None else 0
    if compress:
        squeezed = memoryview(zstandard.ZstdCompressor(level=1).compress(raw))
        if squeezed.nbytes < raw.nbytes:
            payload, flags = squeezed, flags | _ZSTD
    fields = _FIELDS.pack(
        _MAGIC,
        _VERSION,
        flags,
        _DTYPES.index(features.dtype),
        array.ndim,
        *array.shape,
        payload.nbytes,
        raw.nbytes,
    )
    return b"".join((fields, _digest(fields, key, payload, secret), payload))


def decode_entry(data: bytes, key: str, *, secret: bytes | None, max_bytes: int) -> Features:
    """The features in an entry that was stored under this key. Raises BadEntryError.

    secret: as in `encode_entry`; with one, an unsigned entry is refused.
    max_bytes: of the entry, and of the array in it.

    The array is read-only; without compression it is a view of `data`.
    """
    header = _read_header(data, secret is not None, max_bytes)
    payload = memoryview(data)[_HEADER_BYTES:]
    expected = _digest(data[: _FIELDS.size], key, payload, secret)
    if not hmac.compare_digest(expected, data[_FIELDS.size : _HEADER_BYTES]):
        means = "it is damaged, of another key or not from one who has the secret"
        raise BadEntryError(f"the entry's digest is wrong: {means}")
    raw = _decompress(payload, header.raw_bytes) if header.compressed else payload
    array = np.frombuffer(raw, dtype=STORED_AS[header.dtype]).reshape(header.shape)
    return Features(header.dtype, array)


def _read_header(data: bytes, signed: bool, max_bytes: int) -> _Header:
    if not _HEADER_BYTES < len(data) <= max_bytes + _HEADER_BYTES:
        raise BadEntryError(
            f"the entry has {len(data)} bytes, where a header of {_HEADER_BYTES} and a payload of "
            f"1 to {max_bytes} belong"
        )
    magic, version, flags, dtype, rank, num_features, hidden_size, payload_bytes, raw_bytes = (
        _FIELDS.unpack_from(data)
    )
    if (magic, version) != (_MAGIC, _VERSION):
        raise BadEntryError(f"the entry begins with {magic!r} and version {version}")
    if flags & ~(_ZSTD | _SIGNED) or dtype >= len(_DTYPES) or rank != 2:
        raise BadEntryError(f"the entry has unknown flags {flags}, dtype {dtype} or rank {rank}")
    if signed != bool(flags & _SIGNED):
        raise BadEntryError(
            "the entry isn't signed, but a secret is set"
            if signed
            else "the entry is signed, but no secret is set"
        )
    size = num_features * hidden_size * STORED_AS[_DTYPES[dtype]].itemsize
    if size != raw_bytes or not 0 < raw_bytes <= max_bytes:
        raise BadEntryError(
            f"the entry states {num_features} x {hidden_size} {_DTYPES[dtype]} in {raw_bytes} "
            f"bytes, of {max_bytes} allowed"
        )
    compressed = bool(flags & _ZSTD)
    fits = payload_bytes < raw_bytes if compressed else payload_bytes == raw_bytes
    if payload_bytes != len(data) - _HEADER_BYTES or not fits:
        raise BadEntryError(
            f"the entry states {payload_bytes} bytes of payload for {raw_bytes} of features and "
            f"has {len(data) - _HEADER_BYTES}"
        )
    return _Header(compressed, _DTYPES[dtype], (num_features, hidden_size), raw_bytes)


def _digest(fields: bytes, key: str, payload: memoryview, secret: bytes | None) -> bytes:
    name = key.encode()
    mac = hashlib.sha256() if secret is None else hmac.new(secret, digestmod=hashlib.sha256)
    mac.update(fields + struct.pack("<I", len(name)) + name)
    mac.update(payload)
    return mac.digest()


def _decompress(payload: memoryview, raw_bytes: int) -> bytes:
    if zstandard is None:
        raise BadEntryError(f"the entry is compressed; {INSTALL_ZSTANDARD} to read it")
    # The frame's own length decides what is allocated, whatever limit is given.
    try:
        if zstandard.frame_content_size(payload) != raw_bytes:
            raise BadEntryError("the entry's compressed payload states another length than it")
        raw = zstandard.ZstdDecompressor().decompress(payload, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BadEntryError(f"the entry can't be decompressed: {error}") from error
    if len(raw) != raw_bytes:
        raise BadEntryError(f"the entry decompresses to {len(raw)} bytes instead of {raw_bytes}")
    return raw
