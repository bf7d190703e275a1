"""Files beside pictures: where other tools look for them, and never over what somebody wrote."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from caption_rows import JPEG, ODD_TEXTS, PNG, failed, rows_of, write_all
from octavo import RequestError
from octavo.app.captioning.outputs.open_sink import sink_for
from octavo.app.captioning.outputs.output_options import OutputOptions
from octavo.app.captioning.outputs.row import Row
from octavo.app.captioning.outputs.sink import START
from octavo.app.captioning.picture import printable

OPTIONS = OutputOptions(("caption",), sidecars=(".txt",))
XMP = '<x xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#" {}><r:RDF> </r:RDF></x>'
LI = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"


def picture(path: Path, text: str = "a cat", tags: str | None = None) -> Row:
    """Of a file that is made."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(PNG)
    texts = {"caption": text} | ({"tags": tags} if tags is not None else {})
    return Row(printable(str(path)), str(path), texts)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in sorted(os.listdir(folder))}


def test_all_endings(tmp_path: Path) -> None:
    options = OutputOptions(
        ("caption", "tags"),
        sidecars=(".txt=tags", "caption", ".json", ".xmp"),
        fields=("file", "tags", "width"),
    )
    a = replace(picture(tmp_path / "a.b.jpg", "Two\nlines", "cat, dog,, cat "), facts={"width": 3})
    write_all(sink_for(None, options), [a, failed(str(tmp_path / "bad.jpg"))])
    found = contents(tmp_path)
    xmp = ElementTree.fromstring(found.pop("a.b.jpg.xmp"))
    assert [item.text for item in xmp.iter(LI)] == ["Two\nlines", "cat", "dog"]
    assert json.loads(found.pop("a.b.json")) == {
        "file": a.name,
        "tags": "cat, dog,, cat ",
        "width": 3,
    }
    assert found == {
        "a.b.jpg": PNG,
        "a.b.txt": b"cat, dog,, cat \n",
        "a.b.caption": b"Two\nlines\n",
    }


def test_odd_names(tmp_path: Path) -> None:
    """Names that aren't UTF-8, have a newline, or as many bytes as a name can."""
    names = ["caf\udce9.jpg", "new\nline.jpg", "'q\".jpg", "東京.jpg", "x" * 251 + ".jpg", ".jpg"]
    rows = [picture(tmp_path / name, text) for name, text in zip(names, ODD_TEXTS, strict=False)]
    sink = sink_for(None, OPTIONS)
    assert [sink.obstacle(r.path) for r in rows] == [None] * len(rows)
    write_all(sink, rows)
    for r in rows:
        assert r.path is not None
        assert (
            Path(os.path.splitext(r.path)[0] + ".txt").read_bytes().decode()
            == r.texts["caption"] + "\n"
        )
    sink = sink_for(None, replace(OPTIONS, sidecars=(".xmp",)))
    assert sink.obstacle(rows[4].path) == "its sidecar can't be written: File name too long"


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    options = replace(OPTIONS, sidecars=(".txt", ".json", ".xmp"))
    rows = [picture(tmp_path / "a.jpg"), picture(tmp_path / "b.jpg")]
    write_all(sink_for(None, options), rows)
    before = contents(tmp_path)
    write_all(sink_for(None, options), rows)
    assert contents(tmp_path) == before
    assert len(before) == 8


def test_a_picture_that_was_moved_away_since(tmp_path: Path) -> None:
    rows = [picture(tmp_path / "gone" / "a.jpg"), picture(tmp_path / "b.jpg")]
    os.rename(tmp_path / "gone", tmp_path / "moved")
    write_all(sink_for(None, OPTIONS), rows)
    assert sorted(os.listdir(tmp_path)) == ["b.jpg", "b.txt", "moved"]


def test_sidecars_that_are_there(tmp_path: Path) -> None:
    a, b = (picture(tmp_path / name) for name in ("a.jpg", "b.jpg"))
    (tmp_path / "a.txt").write_text("by hand")
    sink = sink_for(None, OPTIONS)
    reason = sink.obstacle(a.path) or ""
    assert reason.startswith("a.txt is there already: ")
    assert "--only-missing" in reason
    assert "--overwrite" in reason
    assert [sink.has(a.path), sink.has(b.path), sink.has(None)] == [True, False, False]
    assert sink.obstacle(b.path) is None
    ours = sink_for(None, replace(OPTIONS, is_ours=lambda path: path == a.path))
    assert ours.obstacle(a.path) is None
    over = sink_for(None, replace(OPTIONS, overwrite=True))
    assert over.obstacle(a.path) is None
    write_all(over, [a])
    assert (tmp_path / "a.txt").read_text() == "a cat\n"
    both = sink_for(None, replace(OPTIONS, sidecars=(".txt", ".xmp")))
    assert not both.has(a.path)
    assert "a.txt is there already" in (both.obstacle(a.path) or "")


def test_xmp_that_is_there(tmp_path: Path) -> None:
    options = OutputOptions(("caption", "tags"), sidecars=(".xmp",))
    rows = [picture(tmp_path / f"{n}.jpg", "text", "x") for n in range(3)]
    there = XMP.format('note="&#10;"')
    (tmp_path / "0.jpg.xmp").write_text(there)
    (tmp_path / "1.jpg.xmp").write_text("broken")
    sink = sink_for(None, options)
    paths = [r.path for r in rows]
    assert [sink.obstacle(path) is None for path in paths] == [True, False, True]
    assert "1.jpg.xmp can't be added to, as it is no XML" in (sink.obstacle(paths[1]) or "")
    write_all(sink, [rows[0], rows[2]])
    assert 'note="&#10;"' in (tmp_path / "0.jpg.xmp").read_text()
    assert [sink.has(path) for path in paths] == [True, False, True]
    assert (sink.obstacle(paths[0]) or "").startswith(
        "0.jpg.xmp has dc:description and dc:subject already: --only-missing"
    )
    tags = replace(options, prompts=("tags",))
    assert (sink_for(None, tags).obstacle(paths[0]) or "").startswith("0.jpg.xmp has dc:subject al")
    for more in (replace(options, overwrite=True), replace(options, is_ours=lambda path: True)):
        assert sink_for(None, more).obstacle(paths[0]) is None


def test_two_pictures_with_one_sidecar(tmp_path: Path) -> None:
    """Whichever comes second is told, in this run and the next, if need be by the disk."""
    a, other = picture(tmp_path / "a.jpg"), picture(tmp_path / "a.PNG")
    for first, second in ((a, other), (other, a)):
        sink = sink_for(None, OPTIONS)
        expected = f"a.txt is the sidecar of {os.path.basename(first.name)}; rename one"
        assert sink.obstacle(first.path) is None
        assert sink.obstacle(second.path) == expected
        assert sink.obstacle(first.path) is None
        sink.write([first])
        done = replace(OPTIONS, is_ours=lambda path, first=first: path == first.path)
        for options in (done, replace(done, overwrite=True)):
            sink = sink_for(None, options)
            assert sink.obstacle(second.path) == expected
        (tmp_path / "a.txt").unlink()
    xmp = sink_for(None, replace(OPTIONS, sidecars=(".xmp",)))
    assert [xmp.obstacle(a.path), xmp.obstacle(other.path)] == [None, None]


def test_claims_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("octavo.app.captioning.outputs.sidecar_claims.MAX_CLAIMS", 3)
    sink = sink_for(None, OPTIONS)
    for n in range(10):
        assert sink.obstacle(str(tmp_path / f"{n}.jpg")) is None
    assert sink.obstacle(str(tmp_path / "9.png")) is not None
    assert len(sink._claims._pictures) == 3  # type: ignore[attr-defined]


def test_what_is_never_overwritten(tmp_path: Path) -> None:
    """Pictures, such as one that is called .txt, and folders."""
    a, named_txt, b = (picture(tmp_path / name) for name in ("a.jpg", "a.txt", "b.jpg"))
    (tmp_path / "b.txt").mkdir()
    sink = sink_for(None, replace(OPTIONS, overwrite=True))
    assert sink.obstacle(named_txt.path) == "its sidecar a.txt would be the picture itself"
    assert "is a picture, which isn't overwritten" in (sink.obstacle(a.path) or "")
    assert "is no file" in (sink.obstacle(b.path) or "")
    assert (tmp_path / "a.txt").read_bytes() == PNG


def test_pictures_that_have_no_place_for_a_sidecar() -> None:
    sink = sink_for(None, OPTIONS)
    assert "it is no file of its own" in (sink.obstacle(None) or "")
    read_only = "/proc/self/a.jpg"  # for the superuser, too
    expected = "its sidecar can't be written: change the permissions of /proc/self, or name a file"
    assert (sink.obstacle(read_only) or "").startswith(expected)


def test_a_mode_is_kept(tmp_path: Path) -> None:
    a = picture(tmp_path / "a.jpg")
    (tmp_path / "a.txt").touch(0o640)
    write_all(sink_for(None, replace(OPTIONS, overwrite=True)), [a])
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_beside_another_output(tmp_path: Path) -> None:
    a = replace(picture(tmp_path / "a.jpg"), content=JPEG)
    for name in ("out.jsonl", "out.tar"):
        sink = sink_for(tmp_path / name, OPTIONS)
        assert sink.takes_content == (name == "out.tar")
        position = write_all(sink, [a, failed("bad")])
        assert position > START
        assert (tmp_path / "a.txt").read_text() == "a cat\n"
        assert "no file of its own" in (sink.obstacle(None) or "")
        with pytest.raises(RequestError, match="--only-missing goes by one output"):
            sink.names()
        (tmp_path / "a.txt").unlink()
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == [a.name, "bad"]


@pytest.mark.parametrize(
    ("sidecars", "reason"),
    [
        ((".md",), r"--sidecar \.md: .* there are \.txt, \.caption, \.json, \.xmp"),
        ((".txt=tag",), "there is no prompt 'tag'; there are caption, tags"),
        ((".json=tags",), r"\.json has the fields that --fields names"),
        ((".txt", "txt=tags"), r"--sidecar \.txt is there twice"),
    ],
)
def test_sidecars_that_there_are_not(sidecars: tuple[str, ...], reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        sink_for(None, OutputOptions(("caption", "tags"), sidecars=sidecars))


def test_no_temporary_file_stays(tmp_path: Path) -> None:
    """One that a crash left is used again."""
    a = picture(tmp_path / "a.jpg")
    sink = sink_for(None, OPTIONS)
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OSError, match=r"a\.txt"):
        sink.write([a])
    assert sorted(os.listdir(tmp_path)) == ["a.jpg", "a.txt"]
    sink.finish(rows_of([]))
