"""What is behind the tab "Caption many", without a browser."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import zipfile
from pathlib import Path

from octavo.app.captioning.picture import FileAt
from octavo.app.page.caption_many.album import MAX_PICTURES, Album, Entry, State
from octavo.app.page.caption_many.byte_budget import ByteBudget
from octavo.app.page.caption_many.captions_table import progress_line, table_rows
from octavo.app.page.caption_many.downloads import delete_downloads, write_downloads
from octavo.app.page.caption_many.zip_listing import pictures_in_zip
from PIL import Image


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(file, "PNG")
    return file.getvalue()


def entry(name: str, state: State = State.WAITING, text: str = "") -> Entry:
    return Entry(name, name, FileAt(f"/{name}"), 1, state, text)


def packed(path: Path, members: dict[str, bytes]) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return str(path)


def test_a_zip_is_listed_without_trust(tmp_path: Path) -> None:
    members = {
        "../../up.png": png(),
        "/etc/root.png": png(),
        "b/ünï\n<i>.png": png(),
        "paper.pdf.png": b"%PDF-1.7",
        "notes.txt": b"text",
        "inner.zip": b"PK\3\4",
        "__MACOSX/._up.png": b"",
    }
    path = packed(tmp_path / "a.zip", members)
    entries, notices = pictures_in_zip(path, "a.zip")
    found = {entry.name: entry.state for entry in entries}
    assert found == {
        "a.zip!../../up.png": State.WAITING,
        "a.zip!/etc/root.png": State.WAITING,
        "a.zip!b/ünï\n<i>.png": State.WAITING,
        "a.zip!paper.pdf.png": State.UNREADABLE,
    }
    for said in ("1 .txt files", "1 hidden", "1 .zip files"):
        assert said in notices[0]


def test_a_zip_that_is_none_and_one_of_too_many_files_say_so(tmp_path: Path) -> None:
    none = tmp_path / "none.zip"
    none.write_bytes(b"no zip")
    [broken], _ = pictures_in_zip(str(none), "none.zip")
    assert broken.state is State.UNREADABLE
    assert "zip archive can't be read" in broken.text
    many = packed(tmp_path / "many.zip", {f"{n:0200}.png": b"" for n in range(5000)})
    [refused], _ = pictures_in_zip(many, "many.zip")
    assert "too many files" in refused.text


def test_an_album_goes_on_and_starts_anew() -> None:
    album = Album()
    album.add([entry("a.png"), entry("b.png"), entry("c.pdf", State.UNREADABLE, "a PDF")])
    album.begin("what?")
    first = album.take()
    assert first is not None
    first.become(State.CAPTIONED, "a car")
    album.begin("what?")
    assert [one.state for one in album.entries][:2] == [State.CAPTIONED, State.WAITING]
    album.begin("who?")
    assert album.count(State.WAITING) == 2
    assert album.entries[2].error == "a PDF"


def test_an_album_has_each_picture_once_each_name_once_and_an_end() -> None:
    album = Album()
    twin = Entry("a.png", "a.png", FileAt("/elsewhere/a.png"), 1)
    album.add([entry("a.png"), entry("a.png"), twin])
    assert [one.name for one in album.entries] == ["a.png", "a (2).png"]
    album.add(entry(f"{number}.png") for number in range(MAX_PICTURES))
    assert len(album.entries) == MAX_PICTURES
    assert album.notices[0].startswith("2 pictures were left out")


def test_downloads_agree_and_are_safe(tmp_path: Path) -> None:
    album = Album()
    texts = {"x/a.png": "a car,\nred", "x/a.jpg": "=1+1", "../../c.png": 'say "ü"'}
    album.add(entry(name, State.CAPTIONED, text) for name, text in texts.items())
    album.add([entry("@d.png", State.REFUSED, "it is broken"), entry("e.png")])
    written = write_downloads(album, str(tmp_path))
    assert written is not None
    rows = [json.loads(line) for line in Path(written.jsonl).read_text("utf-8").splitlines()]
    captions = [{"file": name, "caption": text} for name, text in texts.items()]
    assert rows == [*captions, {"file": "@d.png", "error": "it is broken"}]
    with open(written.csv, encoding="utf-8-sig", newline="") as file:
        cells = list(csv.reader(file))
    assert cells[0] == ["file", "caption", "error"]
    assert cells[1] == ["x/a.png", "a car,\nred", ""]
    assert cells[2] == ["x/a.jpg", "'=1+1", ""]
    assert cells[4] == ["'@d.png", "", "it is broken"]
    with zipfile.ZipFile(written.sidecars) as archive:
        texts_in_zip = {name: archive.read(name).decode() for name in archive.namelist()}
    assert texts_in_zip == {
        "x/a.txt": "a car,\nred\n",
        "x/a.jpg.txt": "=1+1\n",
        "c.txt": 'say "ü"\n',
    }
    delete_downloads(album)
    assert not list(tmp_path.iterdir())


def test_what_strangers_wrote_is_text() -> None:
    album = Album()
    album.add([entry("<img src=x>", State.CAPTIONED, "<b>&"), entry("y", State.FAILED, "<i>")])
    html = "".join(cell for row in table_rows(album) for cell in row)
    for said in ("&lt;img src=x&gt;", "&lt;b&gt;&amp;", "&lt;i&gt;"):
        assert said in html
    album.notices.append("<u>")
    assert "&lt;u&gt;" in progress_line(album, fault="<s>")
    assert "&lt;s&gt;" in progress_line(album, fault="<s>")


def test_bytes_in_memory_are_bounded() -> None:
    async def most() -> int:
        budget = ByteBudget(10)
        held = peak = 0

        async def hold(num_bytes: int) -> None:
            nonlocal held, peak
            async with budget.hold(num_bytes):
                held += min(num_bytes, 10)
                peak = max(peak, held)
                await asyncio.sleep(0)
                held -= min(num_bytes, 10)

        await asyncio.gather(*map(hold, (4, 6, 5, 99, 1, 7)))
        return peak

    assert asyncio.run(most()) == 10
