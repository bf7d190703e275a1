"""Archives, compared with what the libraries that know them say."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from octavo.app.captioning.picture import BytesAt, MemberAt, Picture
from octavo.app.captioning.sources.find import find_pictures
from octavo.app.captioning.sources.options import SourceOptions
from octavo.app.captioning.sources.read import SourceReader
from octavo.core.protocol.media_limits import MediaLimits
from source_files import find, names, picture_file, pictures, reading, skips

SAMPLES: Mapping[str, bytes] = {
    "000/a.jpg": picture_file(1),
    "000/a.json": json.dumps({"caption": "x", "size": [2, 2]}).encode(),
    "000/a.txt": "ein Bär".encode(),
    "000/a.cls": b"3",
    "000/b.PNG": picture_file(2),
    "000/b.seg.png": picture_file(3),
    "001/b.npy": b"\x93NUMPY",
    "001/c.long.TXT": b"a long text",
    "001/c.meta.json": b"{broken",
    "001/c.webp": picture_file(4, "WEBP"),
    "d.cls": b"cat",
    "d.png": picture_file(5),
}
MEMBERS: Mapping[str, bytes] = {
    **SAMPLES,
    "README": b"none",
    ".hidden.png": picture_file(6),
    "__MACOSX/x.png": picture_file(7),
    "plain": picture_file(8),
}


def write_tar(path: Path, members: Mapping[str, bytes] = MEMBERS, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    ("name", "mode"), [("s.tar", "w"), ("s.tar.gz", "w:gz"), ("s.tgz", "w:gz"), ("s.txz", "w:xz")]
)
def test_samples_are_grouped_as_webdataset_does(tmp_path: Path, name: str, mode: str) -> None:
    webdataset = pytest.importorskip("webdataset")
    path = write_tar(tmp_path / name, SAMPLES, mode)
    with path.open("rb") as file:
        members = webdataset.tariterators.tar_file_expander([{"url": "", "stream": file}])
        samples = {s.pop("__key__"): s for s in webdataset.tariterators.group_by_keys(members)}
    found = [p for p in pictures(find([path])) if isinstance(reading(p), bytes)]
    ours: dict[str, set[str]] = {}
    for picture in found:
        key = picture.columns["__key__"]
        part = picture.name.removeprefix(f"{path}!{key}.").lower()
        assert reading(picture) == samples[key][part]
        ours.setdefault(key, set(picture.columns) - {"__key__"}).add(part)
    parts = {key: {part for part in sample if part[:2] != "__"} for key, sample in samples.items()}
    assert ours == {key: of_it for key, of_it in parts.items() if of_it != {"npy"}}


def test_what_is_said_of_a_sample_is_columns(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "s.tar")
    columns = {p.name.removeprefix(f"{path}!"): dict(p.columns) for p in pictures(find([path]))}
    assert columns["000/a.jpg"] == {
        "__key__": "000/a",
        "json": {"caption": "x", "size": [2, 2]},
        "txt": "ein Bär",
        "cls": 3,
    }
    assert columns["000/b.PNG"] == columns["000/b.seg.png"] == {"__key__": "000/b"}
    assert columns["001/c.webp"] == {
        "__key__": "001/c",
        "long.txt": "a long text",
        "meta.json": "{broken",
    }
    assert columns["d.png"] == {"__key__": "d", "cls": "cat"}
    assert columns["plain"] == {}


@pytest.mark.parametrize(
    ("name", "mode", "place"), [("s.tar", "w", MemberAt), ("s.tar.bz2", "w:bz2", BytesAt)]
)
def test_members_are_named_by_their_archive(
    tmp_path: Path, name: str, mode: str, place: type
) -> None:
    path = write_tar(tmp_path / name, mode=mode)
    found = find([path])
    read = {p.name: reading(p) for p in pictures(found)}
    assert {name: data for name, data in read.items() if isinstance(data, bytes)} == {
        f"{path}!{member}": data
        for member, data in MEMBERS.items()
        if data[1:4] in (b"PNG", b"IFF") and not member.startswith((".", "_"))
    }
    assert {type(p.at) for p in pictures(found)} == {place}
    read_later = [str(reason) for reason in read.values() if not isinstance(reason, bytes)]
    kinds = [f"skipped: {kind}" for kind, _ in skips(found)]
    assert sorted(kinds + read_later) == [
        "skipped: .npy files",
        "skipped: files without an ending",
        "skipped: hidden",
        "skipped: hidden",
    ]


def test_a_tar_with_what_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        kinds = {"d": tarfile.DIRTYPE, "l.png": tarfile.SYMTYPE, "f.png": tarfile.FIFOTYPE}
        for name, kind in kinds.items():
            info = tarfile.TarInfo(name)
            info.type = kind
            info.linkname = "/etc/passwd"
            archive.addfile(info)
        long_name = "x" * 300 + "é\udcff.png"
        info = tarfile.TarInfo(long_name)
        info.size = len(picture_file())
        archive.addfile(info, io.BytesIO(picture_file()))
    found = find([path])
    assert names(found) == [f"{path}!{long_name}"]
    assert [kind for kind, _ in skips(found)] == ["links in archives", "device"]
    assert reading(pictures(found)[0]) == picture_file()


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_damaged_tar_gives_what_is_whole_and_a_failure(tmp_path: Path, mode: str) -> None:
    members = {f"{i}.png": picture_file(i) + os.urandom(20_000) for i in range(5)}
    path = write_tar(tmp_path / "s.tar", members, mode)
    whole = path.read_bytes()

    path.write_bytes(whole[: len(whole) // 2])
    *good, bad = [reading(p) for p in pictures(find([path]))]
    if mode == "w":
        assert good.pop() == "failed: its archive ends within it; copy the archive again"
    assert good == list(members.values())[: len(good)]
    assert len(good) == 2
    assert str(bad).startswith("failed: the archive is damaged after 2.png")

    if mode == "w":
        with tarfile.open(write_tar(path, members)) as archive:
            header = archive.getmembers()[3].offset
        path.write_bytes(whole[:header] + b"\xff" * 512 + whole[header + 512 :])
        *good, bad = [reading(p) for p in pictures(find([path]))]
        assert good == list(members.values())[:3]
        assert str(bad).startswith("failed: the archive is damaged after 2.png")

    path.write_bytes(b"no archive at all" * 100)
    (bad,) = [reading(p) for p in pictures(find([path]))]
    assert str(bad).startswith("failed: the archive is damaged at its beginning")


def test_names_that_share_a_beginning_are_not_held_as_one_sample(tmp_path: Path) -> None:
    members = {f"photo.{i:04}.png": picture_file(i) for i in range(500)}
    path = write_tar(tmp_path / "s.tar.gz", members, "w:gz")
    found = find_pictures([str(path)], SourceOptions())
    next(found)
    assert sum(1 for _ in found) == 499


def test_a_compressed_tar_is_read_a_sample_at_a_time(tmp_path: Path) -> None:
    members = {f"{i}.png": picture_file() + os.urandom(50_000) for i in range(40)}
    path = write_tar(tmp_path / "s.tar.gz", members, "w:gz")
    found = find_pictures([str(path)], SourceOptions(limits=MediaLimits(max_bytes=40_000)))
    reasons = [reading(p) for p in found if isinstance(p, Picture)]
    assert len(reasons) == 40
    assert all("--max-image-bytes" in str(reason) for reason in reasons)


def write_zip(path: Path, members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_a_zip_in_natural_order(tmp_path: Path, method: int) -> None:
    members = {
        "b/10.png": picture_file(10),
        "b/9.png": picture_file(9),
        "a.txt": b"text",
        "ü": picture_file(3),
        "folder/": b"",
        ".x/1.png": picture_file(1),
        "__MACOSX/b/._9.png": b"x",
        "broken.jpg": b"<html>",
    }
    path = write_zip(tmp_path / "photos.zip", members, method)
    found = find([path])
    assert names(found, f"{path}!"[:-1]) == [
        f"{path}!{name}" for name in ("a.txt", "b/9.png", "b/10.png", "broken.jpg", "ü")
    ]
    assert skips(found) == [
        ("hidden", f"{path}!.x/1.png"),
        ("hidden", f"{path}!__MACOSX/b/._9.png"),
    ]
    read = [reading(p) for p in pictures(found)]
    assert read[0] == "skipped: .txt files"
    assert read[1:3] == [members["b/9.png"], members["b/10.png"]]
    assert "HTML" in str(read[3])
    assert read[4] == members["ü"]


def test_zips_that_cant_be_read(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "z.zip", {"a.png": picture_file(), "b.png": picture_file(2)})
    whole = path.read_bytes()
    central = whole.index(b"PK\x01\x02")

    encrypted = bytearray(whole)
    encrypted[6] |= 1
    encrypted[central + 8] |= 1
    path.write_bytes(encrypted)
    assert [reading(p) for p in pictures(find([path]))] == [
        "failed: it is encrypted; unpack the archive with its password",
        picture_file(2),
    ]

    damaged = bytearray(whole)
    damaged[50] ^= 0xFF
    path.write_bytes(damaged)
    bad, good = [reading(p) for p in pictures(find([path]))]
    assert str(bad).startswith("failed: it can't be unpacked")
    assert good == picture_file(2)

    path.write_bytes(whole[:-30])
    (picture,) = pictures(find([path]))
    assert picture.name == str(path)
    assert "the zip archive can't be read" in str(reading(picture))


def test_bombs_are_not_unpacked(tmp_path: Path) -> None:
    size = 2 * 10**7
    bomb = write_zip(tmp_path / "z.zip", {"a.png": picture_file() + bytes(size)})
    (picture,) = pictures(find([bomb]))
    assert "--max-image-bytes" in str(reading(picture, max_bytes=10**6))
    # It says that it is small, and isn't.
    data = bytearray(bomb.read_bytes())
    central = data.index(b"PK\x01\x02")
    data[central + 24 : central + 28] = (100).to_bytes(4, "little")
    bomb.write_bytes(data)
    (picture,) = pictures(find([bomb]))
    assert str(reading(picture, max_bytes=10**6)).startswith("failed:")


def test_members_of_several_archives_are_read_at_once(tmp_path: Path) -> None:
    archives: list[Path] = []
    expected = {}
    for number in range(7):
        members = {f"{i}.png": picture_file(number * 40 + i) for i in range(40)}
        archives.append(write_zip(tmp_path / f"{number}.zip", members))
        archives.append(write_tar(tmp_path / f"{number}.tar", members))
        for archive in archives[-2:]:
            expected |= {f"{archive}!{name}": data for name, data in members.items()}
    found = pictures(find(archives))
    mixed = [found[i::40] for i in range(40)]
    reader = SourceReader(MediaLimits())

    def read(part: list[Picture]) -> dict[str, Any]:
        return {picture.name: reader.read(picture) for picture in part}

    with ThreadPoolExecutor(4) as threads:
        parts = list(threads.map(read, mixed))
    reader.close()
    assert {name: data for part in parts for name, data in part.items()} == expected


def test_the_same_member_twice_in_a_zip(tmp_path: Path) -> None:
    path = tmp_path / "z.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", picture_file(1))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.png", picture_file(2))
    found = find([path])
    assert names(found) == [f"{path}!a.png"]
    assert [kind for kind, _ in skips(found)] == ["listed twice"]
