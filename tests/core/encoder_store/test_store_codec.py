"""Entries of an encoder store: the format to the byte, and everything that is refused."""

from __future__ import annotations

import hashlib
import hmac
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from octavo.core.encoder_store.codec import BadEntryError, decode_entry, encode_entry
from octavo.core.encoder_store.features import Features

KEY = "sha256:9f86d081/siglip/bfloat16"
LIMIT = 2**20
NUMPY_TYPES = {"float32": np.float32, "bfloat16": np.uint16, "float16": np.float16}


def random_features(dtype: str, shape: tuple[int, int], seed: int, repeat: bool) -> Features:
    """Any bits, so NaNs too; those of one row again and again can be compressed."""
    generator = np.random.default_rng(seed)
    rows = 1 if repeat else shape[0]
    itemsize = np.dtype(NUMPY_TYPES[dtype]).itemsize
    bits = generator.integers(0, 256, (rows, shape[1] * itemsize), dtype=np.uint8)
    return Features(dtype, np.tile(bits, (shape[0] // rows, 1)).view(NUMPY_TYPES[dtype]))


some_features = st.builds(
    random_features,
    st.sampled_from(sorted(NUMPY_TYPES)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(0, 2**32),
    st.booleans(),
)
secrets = st.none() | st.binary(min_size=1, max_size=100)


def read(data: bytes, secret: bytes | None = None, max_bytes: int = LIMIT) -> Features:
    return decode_entry(data, KEY, secret=secret, max_bytes=max_bytes)


def entry(
    payload: bytes, shape: tuple[int, int], raw_bytes: int, flags: int = 0, dtype: int = 0
) -> bytes:
    """An entry with a right digest, laid out as the format says, whatever it states."""
    fields = struct.pack(
        "<4sBBBBIIQQ", b"OCTF", 1, flags, dtype, 2, *shape, len(payload), raw_bytes
    )
    name = KEY.encode()
    covered = fields + struct.pack("<I", len(name)) + name + payload
    return fields + hashlib.sha256(covered).digest() + payload


@given(some_features, st.text(max_size=80), st.booleans(), secrets)
def test_round_trip(features: Features, key: str, compress: bool, secret: bytes | None) -> None:
    data = encode_entry(features, key, compress=compress, secret=secret)
    back = decode_entry(data, key, secret=secret, max_bytes=features.nbytes)
    assert back.dtype == features.dtype
    assert back.array.dtype == features.array.dtype
    assert back.array.shape == features.array.shape
    assert back.array.tobytes() == features.array.tobytes()


@given(some_features, st.booleans(), secrets, st.data())
def test_a_flipped_bit_is_refused(
    features: Features, compress: bool, secret: bytes | None, data: st.DataObject
) -> None:
    damaged = bytearray(encode_entry(features, KEY, compress=compress, secret=secret))
    bit = data.draw(st.integers(0, 8 * len(damaged) - 1))
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadEntryError):
        read(bytes(damaged), secret)


def test_a_flip_of_every_bit_of_the_header_is_refused() -> None:
    whole = encode_entry(
        random_features("float16", (4, 8), 0, True), KEY, compress=True, secret=None
    )
    for bit in range(8 * 64):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadEntryError):
            read(bytes(damaged))


@given(some_features, st.booleans(), secrets, st.data())
def test_an_entry_of_another_length_is_refused(
    features: Features, compress: bool, secret: bytes | None, data: st.DataObject
) -> None:
    whole = encode_entry(features, KEY, compress=compress, secret=secret)
    with pytest.raises(BadEntryError):
        read(whole[: data.draw(st.integers(0, len(whole) - 1))], secret)
    with pytest.raises(BadEntryError):
        read(whole + data.draw(st.binary(min_size=1)), secret)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BadEntryError):
        read(data)


@given(some_features, st.text(), st.text(), secrets)
def test_an_entry_of_another_key_is_refused(
    features: Features, key: str, other: str, secret: bytes | None
) -> None:
    data = encode_entry(features, key, compress=False, secret=secret)
    if key != other:
        with pytest.raises(BadEntryError, match="another key"):
            decode_entry(data, other, secret=secret, max_bytes=LIMIT)


@pytest.mark.parametrize(
    ("written", "expected", "message"),
    [
        (None, b"ours", "isn't signed"),
        (b"theirs", b"ours", "digest is wrong"),
        (b"theirs", None, "is signed, but no secret"),
    ],
)
def test_an_entry_without_our_signature_is_refused(
    written: bytes | None, expected: bytes | None, message: str
) -> None:
    data = encode_entry(
        random_features("float32", (2, 3), 0, False), KEY, compress=False, secret=written
    )
    with pytest.raises(BadEntryError, match=message):
        read(data, expected)


ARRAY: NDArray[np.uint16] = np.arange(6, dtype=np.uint16).reshape(2, 3)


def test_the_format_to_the_byte() -> None:
    data = encode_entry(Features("bfloat16", ARRAY), KEY, compress=False, secret=None)
    assert data == entry(struct.pack("<6H", *range(6)), (2, 3), 12, dtype=1)


def test_the_signature_is_an_hmac() -> None:
    data = encode_entry(Features("bfloat16", ARRAY), KEY, compress=False, secret=b"secret")
    covered = data[:32] + struct.pack("<I", len(KEY)) + KEY.encode() + data[64:]
    assert data[32:64] == hmac.digest(b"secret", covered, "sha256")


def test_an_array_in_another_order_is_written_row_by_row() -> None:
    data = encode_entry(Features("bfloat16", ARRAY.T), KEY, compress=False, secret=None)
    assert read(data).array.tolist() == ARRAY.T.tolist()


def test_compression_is_used_where_it_helps() -> None:
    alike = Features("float32", np.ones((100, 100), np.float32))
    assert len(encode_entry(alike, KEY, compress=True, secret=None)) < 500
    noise = random_features("float32", (10, 10), 0, False)
    assert len(encode_entry(noise, KEY, compress=True, secret=None)) == 64 + 400


BOMB = zstandard.ZstdCompressor().compress(bytes(64 * 2**20))
UNSIZED = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(400))
FORGED = {
    # 4 bytes times these are 2**64 + 32.
    "a shape that overflows 64 bits": entry(bytes(32), (3_649_452_082, 1_263_665_316), 32),
    "a shape beyond its bytes": entry(bytes(16), (2**32 - 1, 2**32 - 1), 16),
    "more than is allowed": entry(bytes(16), (2**16, 2**16), 2**34, flags=1),
    "no features": entry(b"", (0, 4), 0),
    "no payload": entry(b"", (1, 4), 16, flags=1),
    "an unknown dtype": entry(bytes(16), (1, 4), 16, dtype=3),
    "an unknown flag": entry(bytes(16), (1, 4), 16, flags=4),
    "a bomb": entry(BOMB, (2**10, 2**8), 2**20, flags=1),
    "a payload of unknown length": entry(UNSIZED, (10, 10), 400, flags=1),
    "a payload that isn't compressed": entry(bytes(100), (10, 10), 400, flags=1),
    "something after the payload": entry(
        zstandard.ZstdCompressor().compress(bytes(400)) + b"x", (10, 10), 400, flags=1
    ),
}


@pytest.mark.parametrize("data", FORGED.values(), ids=FORGED)
def test_a_forged_entry_is_refused_before_memory_is_taken(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BadEntryError):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 2**18
    finally:
        tracemalloc.stop()


def test_features_beyond_the_limit_are_refused() -> None:
    data = encode_entry(
        Features("float32", np.ones((100, 100), np.float32)), KEY, compress=True, secret=None
    )
    with pytest.raises(BadEntryError, match="40000 bytes, of 39999 allowed"):
        read(data, max_bytes=39_999)


@pytest.mark.parametrize(
    ("dtype", "array", "message"),
    [
        ("int8", ARRAY, "dtype must be one of float32"),
        ("float32", ARRAY, "must be held as float32, got uint16"),
        ("bfloat16", ARRAY[0], r"must be \[num_features, hidden_size\], got \[3\]"),
        ("bfloat16", ARRAY[:0], r"got \[0, 3\]"),
    ],
)
def test_features_that_make_no_sense(dtype: str, array: NDArray[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Features(dtype, array)
