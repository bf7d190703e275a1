"""The digest of weights: changed by any byte of them and by nothing else, and read but once."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from octavo.core.checkpoints import weights_digest as module
from octavo.core.checkpoints.checkpoint import Checkpoint
from octavo.core.checkpoints.weights_digest import weights_digest
from octavo.core.protocol.config import ConfigError

LONG_AGO = 1_000_000_000


class Reads:
    """Counts bytes that are read to be hashed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.num_bytes = 0
        preadv = os.preadv

        def counted(descriptor: int, buffers: list[bytearray], position: int) -> int:
            length = preadv(descriptor, buffers, position)
            self.num_bytes += length
            return length

        monkeypatch.setattr(os, "preadv", counted)

    def since(self) -> int:
        count, self.num_bytes = self.num_bytes, 0
        return count


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Reads:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Reads(monkeypatch)


def make(folder: Path, age: int = LONG_AGO) -> Path:
    folder.mkdir()
    path = folder / "model.safetensors"
    safetensors.numpy.save_file({"a": np.arange(300_000, dtype=np.float64)}, path)
    os.utime(path, (age, age))
    return path


def digest_of(folder: Path) -> str:
    return weights_digest(Checkpoint("model", folder))


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("position", [0, 1_200_000, -1])
def test_any_byte_changes_it(tmp_path: Path, reads: Reads, position: int) -> None:
    path = make(tmp_path / "model")
    before = digest_of(path.parent)
    assert len(bytes.fromhex(before)) == 32
    flip(path, position)
    assert digest_of(path.parent) != before
    flip(path, position)
    assert digest_of(path.parent) == before


def test_nothing_else_changes_it(tmp_path: Path, reads: Reads) -> None:
    path = make(tmp_path / "model")
    before = digest_of(path.parent)
    shutil.copytree(path.parent, tmp_path / "copied")
    (tmp_path / "copied/config.json").write_text("{}")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/model.safetensors").symlink_to(path)
    assert {digest_of(tmp_path / name) for name in ("copied", "linked")} == {before}


def test_it_is_read_once(tmp_path: Path, reads: Reads) -> None:
    path = make(tmp_path / "model")
    size = path.stat().st_size
    first = digest_of(path.parent)
    assert reads.since() == size
    assert digest_of(path.parent) == first
    assert reads.since() == 0
    (kept,) = (tmp_path / "cache/octavo/weights").iterdir()
    kept.write_text("damaged")
    assert digest_of(path.parent) == first
    assert reads.since() == size
    os.utime(path, (LONG_AGO + 1, LONG_AGO + 1))
    assert digest_of(path.parent) == first
    assert reads.since() == size


def test_a_file_just_written_is_read_again(tmp_path: Path, reads: Reads) -> None:
    """As it may change once more without another time."""
    path = make(tmp_path / "model", age=2 * LONG_AGO + 10**10)
    for _ in range(2):
        digest_of(path.parent)
        assert reads.since() == path.stat().st_size


def test_where_nothing_can_be_kept(
    tmp_path: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "model")
    before = digest_of(path.parent)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert digest_of(path.parent) == before


def test_the_definition(tmp_path: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two shards, with another file beside them, in pieces of a mebibyte."""
    monkeypatch.setattr(module, "_PIECE", 1 << 20)
    folder = tmp_path / "model"
    folder.mkdir()
    shards = {f"model-0000{i}-of-00002.safetensors": i for i in (1, 2)}
    for name, i in shards.items():
        safetensors.numpy.save_file({f"t{i}": np.full(200_000 * i, i, np.float64)}, folder / name)
    weight_map = ", ".join(f'"t{i}": "{name}"' for name, i in shards.items())
    (folder / "model.safetensors.index.json").write_text(f'{{"weight_map": {{{weight_map}}}}}')
    (folder / "other.safetensors").write_bytes(b"no part of it")

    def blake(*parts: bytes) -> bytes:
        return hashlib.blake2b(b"".join(parts), digest_size=32).digest()

    files = []
    for name in sorted(shards):
        data = (folder / name).read_bytes()
        files.append(blake(*(blake(data[at : at + 2**20]) for at in range(0, len(data), 2**20))))
    assert digest_of(folder) == blake(*files).hex()


def test_without_weights(tmp_path: Path, reads: Reads) -> None:
    with pytest.raises(ConfigError, match=r"no model\.safetensors"):
        digest_of(tmp_path)
