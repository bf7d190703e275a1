"""`octavo caption` writes one line a picture, in order, and says what it could not read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from shutil import copyfile

import pytest
from octavo.__main__ import main
from PIL import Image


def test_folder_to_jsonl(
    tmp_path: Path, pictures: list[Image.Image], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, picture in enumerate(pictures):
        picture.save(folder / f"{i}.png")
    (folder / "bad.jpg").write_text("no picture")
    output = tmp_path / "out.jsonl"
    status = main(["caption", str(folder), "-o", str(output), "--prompt", "What is this?"])
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [Path(line["file"]).name for line in lines] == ["0.png", "1.png", "2.png", "bad.jpg"]
    assert all(line["caption"] for line in lines[:3])
    assert "not an image" in lines[3]["error"]
    assert status == 1
    assert "1 file has an error" in capsys.readouterr().err


def test_nothing_to_caption(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["caption", str(tmp_path), "-o", str(tmp_path / "x.jsonl")]) == 2
    assert "no pictures" in capsys.readouterr().err


def test_names_in_any_bytes_and_what_is_no_file(
    tmp_path: Path, pictures: list[Image.Image], capsys: pytest.CaptureFixture[str]
) -> None:
    """A name in Latin-1, for a picture and for what is none, a FIFO that nobody writes to, a link
    to nowhere, and a folder named as a picture."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    pictures[0].save(folder / "picture.png")
    copyfile(folder / "picture.png", folder / os.fsdecode(b"caf\xe9.png"))
    (folder / os.fsdecode(b"caf\xe9.jpg")).write_text("no picture")
    (folder / "folder.png").mkdir()
    (folder / "link.png").symlink_to("/nowhere")
    os.mkfifo(folder / "fifo.png")
    output = tmp_path / "out.jsonl"
    status = main(["caption", str(folder), "-o", str(output), "--max-tokens", "4"])
    lines = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    found = {Path(line["file"]).name: line for line in lines}
    assert found.keys() == {
        "caf\\xe9.jpg",
        "caf\\xe9.png",
        "fifo.png",
        "link.png",
        "picture.png",
    }
    assert found["caf\\xe9.png"]["caption"] == found["picture.png"]["caption"]
    assert "not an image" in found["caf\\xe9.jpg"]["error"]
    assert "not a regular file" in found["fifo.png"]["error"]
    assert "No such file" in found["link.png"]["error"]
    assert (status, len(lines)) == (1, 5)
    assert "3 files" in capsys.readouterr().err


def test_captions_that_are_there_are_kept(
    tmp_path: Path, pictures: list[Image.Image], capsys: pytest.CaptureFixture[str]
) -> None:
    pictures[0].save(tmp_path / "0.png")
    output = tmp_path / "out.jsonl"
    command = ["caption", str(tmp_path / "0.png"), "-o", str(output), "--max-tokens", "4"]
    output.write_text("of another run\n")
    assert main(command) == 2
    assert output.read_text() == "of another run\n"
    assert "out.jsonl exists and would be overwritten; delete it" in capsys.readouterr().err
    output.write_text("")
    assert main(command) == 0
    assert len(output.read_text().splitlines()) == 1
    assert main([*command[:3], str(tmp_path / "none" / "out.jsonl")]) == 2
    assert "name a file in a folder" in capsys.readouterr().err
