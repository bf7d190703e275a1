"""Shards are tar files, and what WebDataset's own reader takes for samples."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from caption_rows import JPEG, ODD_TEXTS, PNG, failed, row, write_all
from octavo import RequestError
from octavo.app.captioning.outputs import shard_sink
from octavo.app.captioning.outputs.open_sink import sink_for
from octavo.app.captioning.outputs.output_options import OutputOptions
from octavo.app.captioning.outputs.row import Row
from octavo.app.captioning.outputs.sink import START
from PIL import Image
from webdataset.tariterators import group_by_keys, tar_file_iterator

OPTIONS = OutputOptions(("caption",), shard_size=3)
NAMES = [
    "a/1.jpg",
    "b/1.jpg",
    "b/1.png",
    "b/1-2.jpg",
    "a.b.c/x.y.jpg",
    "x_y.jpg",
    "/abs/../../up.jpg",
    "../up.jpg",
    "no ending",
    ".jpg",
    "new\nline/a\nb.jpg",
    "__macosx__/a.jpg",
    "東京/猫.jpg",
    f"{'long' * 40}/{'name' * 60}.jpg",
    "photos.zip!in/a.JPEG",
    "https://example.com/a.jpg?size=1",
    "table.parquet#1",
    "table.parquet#2",
    "caf\\xe9.png",
]


def samples(folder: Path) -> list[dict[str, Any]]:
    """As WebDataset reads them."""
    found = []
    for shard in sorted(folder.glob("*.tar")):
        with shard.open("rb") as file:
            members = [{**member, "__url__": shard.name} for member in tar_file_iterator(file)]
        found += group_by_keys(members)
    return found


@pytest.mark.parametrize("shard_size", [3, 1_000])
def test_samples(tmp_path: Path, shard_size: int) -> None:
    rows = [row(name, ODD_TEXTS[n % len(ODD_TEXTS)], width=n) for n, name in enumerate(NAMES)]
    options = OutputOptions(("caption",), fields=("file", "width"), shard_size=shard_size)
    rows.insert(2, failed("bad.jpg"))
    write_all(sink_for(tmp_path / "out.tar", options), rows)
    found = samples(tmp_path)
    assert [json.loads(sample["json"]) for sample in found] == [
        {"file": name, "width": n} for n, name in enumerate(NAMES)
    ]
    for n, sample in enumerate(found):
        assert sample["txt"].decode() == ODD_TEXTS[n % len(ODD_TEXTS)]
        assert sample["png"] == PNG
        assert sample.keys() == {"__key__", "__url__", "png", "txt", "json"}
    per_shard = [sample["__url__"] for sample in found]
    assert max(map(per_shard.count, per_shard)) == min(shard_size, len(NAMES))


def test_they_unpack_into_their_folder(tmp_path: Path) -> None:
    """Each file once."""
    options = OutputOptions(("caption",))
    write_all(sink_for(tmp_path / "out.tar", options), [row(name) for name in NAMES])
    with tarfile.open(tmp_path / "out-000000.tar") as shard:
        for member in shard:
            assert tarfile.data_filter(member, str(tmp_path)) is not None
        names = shard.getnames()
    assert len({name.lower() for name in names}) == 3 * len(NAMES)
    assert names[:3] == ["a/1.png", "a/1.txt", "a/1.json"]
    keys = list(dict.fromkeys(name.rpartition(".")[0] for name in names))
    assert keys[1:6] == ["b/1", "b/1-2", "b/1-2-2", "a.b.c/x_y", "x_y"]


def test_members_end_as_their_content_does(tmp_path: Path) -> None:
    contents = {}
    for kind in ("jpeg", "png", "webp", "gif", "bmp", "tiff", "avif"):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, kind)
        contents[kind] = buffer.getvalue()
    contents["other"] = b"BMxx"
    rows = [
        Row(f"{kind}.x", None, {"caption": ""}, content=data) for kind, data in contents.items()
    ]
    write_all(sink_for(tmp_path / "out.tar", OPTIONS), rows)
    found = [
        (sample.keys() - {"__key__", "__url__", "txt", "json"}).pop()
        for sample in samples(tmp_path)
    ]
    assert found == ["jpg", "png", "webp", "gif", "bmp", "tif", "avif", "bin"]


def test_a_shard_is_whole_after_each_write(tmp_path: Path) -> None:
    sink = sink_for(tmp_path / "out.tar", OPTIONS)
    sink.begin(START, None)
    for n in range(5):
        sink.write([row(f"{n}.png")])
        shards = sorted(tmp_path.glob("*.tar"))
        assert all(shard.read_bytes().endswith(bytes(1024)) for shard in shards)
        assert len(samples(tmp_path)) == n + 1
    sink.finish(lambda: iter(()))
    assert [shard.name for shard in shards] == ["out-000000.tar", "out-000001.tar"]


def test_a_shard_is_closed_by_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_sink, "MAX_SHARD_BYTES", 20_000)
    rows = [Row(f"{n}.jpg", None, {"caption": ""}, content=JPEG + bytes(9_000)) for n in range(6)]
    write_all(sink_for(tmp_path / "out.tar", OutputOptions(("caption",))), rows)
    shards = [sample["__url__"] for sample in samples(tmp_path)]
    assert shards == [f"out-{n:06}.tar" for n in (0, 0, 1, 1, 2, 2)]


def test_shards_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "out.tar"
    write_all(sink_for(path, OPTIONS), [row(f"{n}.png") for n in range(7)])
    other = tmp_path / "out-of-it.tar"
    other.write_text("another's")
    with pytest.raises(RequestError, match=r"out-000000\.tar exists and would be overwritten"):
        sink_for(path, OPTIONS).check()
    added = sink_for(path, OutputOptions(("caption",), goes_on=True))
    added.check()
    assert list(added.names()) == [f"{n}.png" for n in range(7)]
    assert added.end() == (3, 0)
    added.begin(added.end(), None)
    assert added.write([row("new.png")])[0] == 3
    added.finish(lambda: iter(()))
    assert len(list(added.names())) == 8
    write_all(sink_for(path, OutputOptions(("caption",), overwrite=True)), [row("a.png")])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out-000000.tar", "out-of-it.tar"]


def test_names_that_can_not_be_told(tmp_path: Path) -> None:
    options = OutputOptions(("caption",), fields=("caption",))
    write_all(sink_for(tmp_path / "out.tar", options), [row("a.png")])
    with pytest.raises(
        RequestError, match=r"out-000000\.tar has no 'file' in each sample's \.json"
    ):
        list(sink_for(tmp_path / "out.tar", options).names())
    with pytest.raises(RequestError, match="--shard-size must be at least 1, not 0"):
        sink_for(tmp_path / "out.tar", OutputOptions(("caption",), shard_size=0))


def test_a_shard_that_is_gone_on_with(tmp_path: Path) -> None:
    """It is whole before more is added, has no more samples than others, and no key twice."""
    sink = sink_for(tmp_path / "out.tar", OPTIONS)
    sink.begin(START, None)
    position = sink.write([row("a.jpg"), row("b.jpg")])
    sink.finish(lambda: iter(()))
    sink = sink_for(tmp_path / "out.tar", OPTIONS)
    assert sink.begin(position, None) == position
    assert (tmp_path / "out-000000.tar").read_bytes().endswith(bytes(1024))
    sink.write([row("a.png"), row("b.png")])
    sink.finish(lambda: iter(()))
    found = [(sample["__url__"], sample["__key__"]) for sample in samples(tmp_path)]
    first, second = "out-000000.tar", "out-000001.tar"
    assert found == [(first, "a"), (first, "b"), (first, "a-2"), (second, "b")]
