"""Files of features from clients: what they hold, and that no bytes do harm."""

from __future__ import annotations

import io
import json
import struct
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from octavo.core.encoder_store.feature_file import read_feature_file
from octavo.core.protocol.media_error import MediaError


def npy_file(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npy_header(header: bytes, body: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def described(descr: str, shape: str = "(1, 1)") -> bytes:
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}}}"
    return npy_header(header.encode(), bytes(4))


def tensor_file(dtype: str, shape: list[int], size: int) -> bytes:
    entry = {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}
    header = json.dumps({"x": entry}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_both_formats_give_what_was_saved(dtype: type) -> None:
    array = np.random.default_rng(1).standard_normal((3, 5)).astype(dtype)
    for data in (npy_file(array), safetensors.numpy.save({"x": array})):
        features = read_feature_file(data)
        assert features.dtype == np.dtype(dtype).name
        np.testing.assert_array_equal(features.array, array)


HOSTILE = {
    "nothing": b"",
    "magic alone": b"\x93NUMPY",
    "version 3": b"\x93NUMPY\x03\x00" + bytes(9),
    "open bracket": npy_header(b"{'descr': ("),
    "deep brackets": npy_header(b"(" * 5000),
    "deep signs": npy_header(b"-" * 9000 + b"1"),
    "many digits": npy_header(b"9" * 9000),
    "long header": npy_header(b" " * 60000),
    "NUL": npy_header(b"{'descr': '\x00'}"),
    "bad escape": npy_header(b"{'descr': '\\d'}"),
    "dtype of commas": described(",,,"),
    "dtype that is deprecated": described("a4"),
    "objects": described("|O"),
    "shape of bools": described("<f4", "(True, 1)"),
    "negative shape": described("<f4", "(-1, -1)"),
    "huge shape": described("<f4", f"(0, {10**30})"),
    "F8": tensor_file("F8_E5M2", [1, 1], 1),
    "F8 scale": tensor_file("F8_E8M0", [1, 1], 1),
    "F6": tensor_file("F6_E2M3", [1, 4], 3),
    "F4": tensor_file("F4", [1, 2], 1),
    "complex": tensor_file("C64", [1, 1], 8),
    "no rows": tensor_file("F32", [0, 4], 0),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.filterwarnings("ignore")  # as in a server, where they are no errors
def test_hostile_files_are_refused_with_a_reason(name: str) -> None:
    with pytest.raises(MediaError, match=r"can't be read: .") as caught:
        read_feature_file(HOSTILE[name])
    assert caught.value.kind == "invalid"


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00"]))
def test_any_bytes_give_a_media_error(data: bytes, start: bytes) -> None:
    with pytest.raises(MediaError):
        read_feature_file(start + data)


@given(st.binary(max_size=60))
def test_any_header_gives_a_media_error(header: bytes) -> None:
    with pytest.raises(MediaError):
        read_feature_file(npy_header(header))


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """They take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("eager_threads")
def test_threads_do_not_disturb_each_other() -> None:
    """Requests are read in many; the warning filters belong to all of the process."""
    data, before = npy_file(np.ones((2, 2), np.float32)), list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(read_feature_file, [data] * 4000))) == 4000
    assert list(warnings.filters) == before
