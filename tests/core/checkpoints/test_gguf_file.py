"""The container: what the gguf package writes and reads is read the same, and a file that is no
such file, or damaged, is refused by a sentence that names it and the part at fault."""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFEndian, GGUFReader, GGUFValueType, GGUFWriter, quantize
from gguf.constants import GGMLQuantizationType as Kind
from octavo.core.checkpoints.gguf.gguf_file import read_gguf
from octavo.core.protocol.config import ConfigError

VALUES: dict[str, tuple[Any, GGUFValueType]] = {
    "a.uint8": (200, GGUFValueType.UINT8),
    "a.int8": (-100, GGUFValueType.INT8),
    "a.uint16": (60000, GGUFValueType.UINT16),
    "a.int16": (-30000, GGUFValueType.INT16),
    "a.uint32": (4_000_000_000, GGUFValueType.UINT32),
    "a.int32": (-2_000_000_000, GGUFValueType.INT32),
    "a.float32": (0.5, GGUFValueType.FLOAT32),
    "a.bool": (True, GGUFValueType.BOOL),
    "a.uint64": (2**63 + 1, GGUFValueType.UINT64),
    "a.int64": (-(2**62), GGUFValueType.INT64),
    "a.float64": (1e300, GGUFValueType.FLOAT64),
    "a.string": ("Ünïcödé ▁ 🙂", GGUFValueType.STRING),
    "a.nothing": ("", GGUFValueType.STRING),
}
LISTS = {"b.strings": ["", "one", "zwölf"], "b.bools": [True, False], "b.floats": [0.25, -1e9]}


def write(path: Path, endianess: GGUFEndian = GGUFEndian.LITTLE) -> Path:
    """A file with values and tensors of all kinds."""
    writer = GGUFWriter(path, "llama", endianess=endianess)
    writer.add_custom_alignment(64)
    for key, (value, kind) in VALUES.items():
        writer.add_key_value(key, value, kind)
    for key, values in LISTS.items():
        writer.add_array(key, values)
    writer.add_key_value("b.numbers", [1, -2, 3], GGUFValueType.ARRAY, GGUFValueType.INT16)
    numbers = np.random.default_rng(0).normal(size=(3, 2, 64)).astype(np.float32)
    writer.add_tensor("plain", numbers)
    writer.add_tensor("half", numbers[0].astype(np.float16))
    writer.add_tensor("vector", numbers[0, 0, :5].copy())
    writer.add_tensor("whole", np.arange(7, dtype=np.int32))
    for kind in (Kind.Q8_0, Kind.Q4_1):
        writer.add_tensor(f"in_{kind.name}", quantize(numbers, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_equal_to_the_gguf_package(tmp_path: Path) -> None:
    path = write(tmp_path / "all.gguf")
    file, expected = read_gguf(path), GGUFReader(path)
    stated = {k: f.contents() for k, f in expected.fields.items() if not k.startswith("GGUF.")}
    assert file.keys == stated
    assert list(file.keys) == list(stated)
    assert [*file.tensors] == [tensor.name for tensor in expected.tensors]
    for tensor in expected.tensors:
        ours = file.tensors[tensor.name]
        assert ours.kind == tensor.tensor_type
        assert ours.data.tobytes() == np.asarray(tensor.data).tobytes()
        assert ours.data.shape[:-1] == tuple(reversed(tensor.shape.tolist()))[:-1]


def text(content: str | bytes) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return struct.pack("<Q", len(content)) + content


def key(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def tensor(name: str, *dims: int, kind: int = 0, offset: int = 0) -> bytes:
    sizes = struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
    return text(name) + sizes + struct.pack("<IQ", kind, offset)


def gguf(
    keys: tuple[bytes, ...] = (),
    tensors: tuple[bytes, ...] = (),
    version: int = 3,
    counts: tuple[int, int] | None = None,
    size: int = 64,
) -> bytes:
    """A file. counts: of tensors and keys, as it claims. size: in bytes, of the tensors' part."""
    claimed = counts or (len(tensors), len(keys))
    table = struct.pack("<4sIQQ", b"GGUF", version, *claimed) + b"".join(keys + tensors)
    return table + bytes(-len(table) % 32) + bytes(size)


MANY = 10**9
BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "is not a GGUF file"),
    "another magic": (b"GGML" + gguf()[4:], "is not a GGUF file"),
    "the magic alone": (b"GGUF", "its header: the file ends within it"),
    "version 1": (gguf(version=1), "it is of version 1; versions 2 and 3 are supported"),
    "version 4": (gguf(version=4), "it is of version 4"),
    "many tensors": (gguf(counts=(MANY, 0)), f"its number of tensors: it counts {MANY}, which"),
    "many keys": (
        gguf(counts=(0, 2**64 - 1)),
        "its number of keys: it counts 18446744073709551615",
    ),
    "a key too many": (gguf(counts=(0, 1), size=0), "its number of keys: it counts 1"),
    "a key that is cut": (gguf((struct.pack("<Q", MANY),), counts=(0, 1)), "key 1 of 1: the file"),
    "a key in no text": (gguf((text(b"\xff\xff"),), counts=(0, 1)), "key 1 of 1: .*utf-8"),
    "a key twice": (gguf((key("k.a", 0, b"1"), key("k.a", 0, b"2"))), "key k.a: it is there twice"),
    "a type of values": (gguf((key("k.a", 13, b""),)), "key k.a: .*not known, 13"),
    "a long string": (gguf((key("k.a", 8, struct.pack("<Q", MANY)),)), "key k.a: the file ends"),
    "no text": (gguf((key("k.a", 8, text(b"\xc3\x28")),)), "key k.a: .*utf-8"),
    "many strings": (
        gguf((key("k.a", 9, struct.pack("<IQ", 8, MANY)),)),
        f"key k.a: it counts {MANY}",
    ),
    "a long string in a list": (
        gguf((key("k.a", 9, struct.pack("<IQ", 8, 2) + text("x") + struct.pack("<Q", MANY)),)),
        "key k.a: the file ends within it",
    ),
    "many numbers": (
        gguf((key("k.a", 9, struct.pack("<IQ", 12, MANY)),)),
        f"key k.a: it counts {MANY}",
    ),
    "a list of lists": (
        gguf((key("k.a", 9, struct.pack("<IQ", 9, 1)),)),
        "key k.a: .*not known, 9",
    ),
    "a list of unknowns": (gguf((key("k.a", 9, struct.pack("<IQ", 77, 1)),)), "key k.a: .*77"),
    "an odd alignment": (
        gguf((key("general.alignment", 4, struct.pack("<I", 48)),)),
        "general.alignment: 48 is no power of two",
    ),
    "no alignment": (
        gguf((key("general.alignment", 4, bytes(4)),)),
        "general.alignment: 0 is no power of two",
    ),
    "an alignment in words": (
        gguf((key("general.alignment", 8, text("32")),)),
        "general.alignment: '32' is no power of two",
    ),
    "a tensor twice": (gguf((), (tensor("w", 8), tensor("w", 8, offset=32))), "w: it is there twi"),
    "a type of tensors": (gguf((), (tensor("w", 8, kind=4),)), "tensor w: .*not known, 4"),
    "many dimensions": (gguf((), (tensor("w", 1, 1, 1, 1, 1),)), "tensor w: it has 5 dimensions"),
    "endless dimensions": (
        gguf((), (text("w") + struct.pack("<I", 2**32 - 1) + bytes(24),)),
        "tensor w: it has 4294967295 dimensions",
    ),
    "a tensor of nothing": (gguf((), (tensor("w", 8, 0),)), r"tensor w: \[8, 0\] is no size"),
    "part of a block": (gguf((), (tensor("w", 33, kind=8),)), r"w: \[33\] is no size .* in Q8_0"),
    "between the places": (gguf((), (tensor("w", 1, offset=4),)), "w: its offset 4 is no multiple"),
    "beyond the end": (
        gguf((), (tensor("w", 17),)),
        "tensor w: it ends at byte 132, the file at 128",
    ),
    "far beyond the end": (gguf((), (tensor("w", 2**63, 2**63),)), "tensor w: it ends at byte"),
    "a far offset": (gguf((), (tensor("w", 1, offset=2**64 - 32),)), "tensor w: it ends at byte"),
    "an overlap": (
        gguf((), (tensor("v", 8, offset=32), tensor("w", 9))),
        "the tensors w and v overlap",
    ),
    "one within another": (
        gguf((), (tensor("v", 16), tensor("w", 2, offset=32))),
        "the tensors v and w overlap",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_named(name: str, tmp_path: Path) -> None:
    content, message = BAD[name]
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"{re.escape(str(path))} .*{message}"):
        read_gguf(path)


def test_a_big_endian_file(tmp_path: Path) -> None:
    path = write(tmp_path / "big.gguf", GGUFEndian.BIG)
    with pytest.raises(ConfigError, match=r"big\.gguf .*it is big-endian"):
        read_gguf(path)


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.gguf can't be read: No such file"):
        read_gguf(tmp_path / "gone.gguf")


def test_a_file_that_is_cut_anywhere(tmp_path: Path) -> None:
    """Padding after the last tensor may be missing, nothing else."""
    path = write(tmp_path / "whole.gguf")
    last = GGUFReader(path).tensors[-1]
    end = last.data_offset + last.n_bytes
    os.truncate(path, end)
    assert len(read_gguf(path).tensors) == 6
    for size in reversed(range(int(end))):
        os.truncate(path, size)
        with pytest.raises(ConfigError, match=r"whole\.gguf "):
            read_gguf(path)


def test_a_file_with_any_byte_changed(tmp_path: Path) -> None:
    """It is read, or refused; the seed is fixed."""
    path = write(tmp_path / "whole.gguf")
    header = GGUFReader(path).data_offset
    changes = np.random.default_rng(1).integers(1, 256, header).tolist()
    refusals = []
    with path.open("r+b", buffering=0) as file:
        for place, change in enumerate(changes):
            (byte,) = os.pread(file.fileno(), 1, place)
            os.pwrite(file.fileno(), bytes([byte ^ change]), place)
            try:
                read_gguf(path)
            except ConfigError as error:
                refusals.append(str(error))
            os.pwrite(file.fileno(), bytes([byte]), place)
    assert len(read_gguf(path).tensors) == 6
    assert len(refusals) > header // 4
    assert all("whole.gguf" in refusal for refusal in refusals)
