"""`octavo caption` writes one line a picture, in order, and says what it could not read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from octavo.app.cli import main
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
    assert "1 files" in capsys.readouterr().err


def test_nothing_to_caption(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["caption", str(tmp_path), "-o", str(tmp_path / "x.jsonl")]) == 2
    assert "no pictures" in capsys.readouterr().err
