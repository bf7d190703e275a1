"""`octavo caption` as one types it: what is written and said, and with which status it ends."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from shutil import copyfile
from typing import Any

import jsonschema
import octavo
import pytest
from octavo.__main__ import main
from PIL import Image


@pytest.fixture
def photos(tmp_path: Path, pictures: list[Image.Image]) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, picture in enumerate(pictures):
        picture.save(folder / f"{i}.png")
    return folder


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_folder_to_jsonl(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "bad.jpg").write_text("no picture")
    output = photos.parent / "out.jsonl"
    command = ["caption", str(photos), "-o", str(output), "--prompt", "What is this?"]
    assert main(command) == 1
    header, *rows = lines(output)
    assert header["octavo"]
    assert header["prompts"]["caption"]["text"] == "What is this?"
    assert [Path(row["file"]).name for row in rows] == ["0.png", "1.png", "2.png", "bad.jpg"]
    assert all(row["caption"] for row in rows[:3])
    assert "no picture in a known format" in rows[3]["error"]
    assert "captioned 3 pictures" in capsys.readouterr().err

    # The same command has nothing left to do, and says what is still wrong.
    before = output.read_bytes()
    assert main(command) == 1
    assert output.read_bytes() == before
    said = capsys.readouterr().err
    assert "4 done before" in said
    assert "1 failed in earlier runs; --retry-failed tries again" in said
    assert "weights:" not in said, "no model is loaded for nothing"

    copyfile(photos / "0.png", photos / "bad.jpg")
    copyfile(photos / "1.png", photos / "3.png")
    assert main([*command, "--retry-failed"]) == 0
    rows = lines(output)[1:]
    assert {Path(row["file"]).name for row in rows} == {*(f"{i}.png" for i in range(4)), "bad.jpg"}
    assert len(rows) == 5
    assert all(row["caption"] for row in rows)


def test_another_question_is_not_mixed_in(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = photos.parent / "out.csv"
    command = ["caption", str(photos), "-o", str(output), "--max-tokens", "4"]
    assert main(command) == 0
    assert main([*command, "--prompt", "Other?", "--quantization", "int8"]) == 2
    said = capsys.readouterr().err
    assert "prompts.caption.text was 'What is in this picture?' and is 'Other?'" in said
    assert "quantization was None and is 'int8'" in said
    assert main([*command, "--prompt", "Other?", "--overwrite"]) == 0
    assert len(list(csv.DictReader(io.StringIO(output.read_text())))) == 3


def test_several_prompts_choices_and_what_is_made_of_the_answers(photos: Path) -> None:
    output = photos.parent / "out.jsonl"
    command = ["caption", str(photos), "-o", str(output), "--max-tokens", "6", "--no-header"]
    command += ["--prompt", "caption=What is in {stem}?", "--prompt", "kind=Is it a cat or a dog?"]
    command += ["--choices", "kind=cat,dog", "--fields", "file,kind,caption,width,finish_reason"]
    assert main([*command, "--paths", "relative", "--trigger-words", "ohwx"]) == 0
    for i, row in enumerate(lines(output)):
        assert row["file"] == f"photos/{i}.png"
        assert row["kind"] in ("ohwx, cat", "ohwx, dog")
        assert row["caption"].startswith("ohwx, ")
        assert row["width"] > 0
        assert row["finish_reason.kind"] == "stop"


def test_sidecars_are_kept_and_completed(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "1.txt").write_text("by hand")
    command = ["caption", str(photos), "--sidecar", ".txt", "--max-tokens", "4"]
    assert main([*command, "--journal", str(photos.parent / "a")]) == 1
    assert "1.txt is there already" in capsys.readouterr().err
    assert main([*command, "--journal", str(photos.parent / "b"), "--only-missing"]) == 0
    assert (photos / "1.txt").read_text() == "by hand"
    assert (photos / "0.txt").read_text().strip()
    assert main([*command, "--journal", str(photos.parent / "c"), "--overwrite"]) == 0
    assert (photos / "1.txt").read_text() != "by hand"


def test_only_missing_adds_to_an_output_of_another_tool(photos: Path) -> None:
    output = photos.parent / "out.jsonl"
    theirs = json.dumps({"file": str(photos / "0.png"), "caption": "theirs"}) + "\n"
    output.write_text(theirs)
    command = ["caption", str(photos), "-o", str(output), "--max-tokens", "4"]
    assert main(command) == 2
    assert output.read_text() == theirs
    assert main([*command, "--only-missing"]) == 0
    assert output.read_text().startswith(theirs)
    files = [Path(row["file"]).name for row in lines(output) if "file" in row]
    assert files == ["0.png", "1.png", "2.png"]
    assert main([*command, "--only-missing"]) == 0
    assert len([row for row in lines(output) if "file" in row]) == 3


def test_duplicates_and_files_that_were_moved(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = photos.parent / "out.jsonl"
    copyfile(photos / "0.png", photos / "copy.png")
    command = ["caption", str(photos), "-o", str(output), "--max-tokens", "4"]
    command += ["--fields", "file,caption,duplicate_of"]
    assert main([*command, "--dedupe"]) == 0
    rows = {Path(row["file"]).name: row for row in lines(output) if "file" in row}
    assert rows["copy.png"]["caption"] == rows["0.png"]["caption"]
    # Whichever of the two was read first is captioned.
    first, other = sorted(("0.png", "copy.png"), key=lambda name: "duplicate_of" in rows[name])
    assert "duplicate_of" not in rows[first]
    assert rows[other]["duplicate_of"] == str(photos / first)
    (photos / "1.png").rename(photos / "moved.png")
    assert main(command) == 0
    rows = {Path(row["file"]).name: row for row in lines(output) if "file" in row}
    assert rows["moved.png"]["caption"] == rows["1.png"]["caption"]
    assert rows["moved.png"]["duplicate_of"] == str(photos / "1.png")


def test_too_many_errors_end_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(3):
        (tmp_path / f"{i}.png").write_text("no picture")
    command = ["caption", str(tmp_path), "-o", str(tmp_path / "x.jsonl"), "--max-errors", "2"]
    assert main(command) == 1
    assert "--max-errors is 2; the same command goes on" in capsys.readouterr().err


def test_one_picture_to_standard_output(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["caption", str(photos / "0.png"), "--max-tokens", "4"]) == 0
    (row,) = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert row["caption"]
    assert sorted(path.name for path in photos.parent.rglob("*")) == [
        *("0.png", "1.png", "2.png"),
        "photos",
    ]


def test_captions_under_a_schema(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Valid by it, and those that are cut have failed."""
    schema = {
        "type": "object",
        "properties": {"animal": {"enum": ["cat", "dog"]}, "sure": {"type": "boolean"}},
        "required": ["animal", "sure"],
        "additionalProperties": False,
    }
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(schema))
    command = ["caption", str(photos / "0.png"), "--schema", str(file), "--temperature", "1.5"]
    assert main(command) == 0
    (row,) = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    jsonschema.validate(json.loads(row["caption"]), schema)
    rows = list(octavo.caption(photos, schema=schema, max_tokens=3))
    assert len(rows) == 3
    assert all("the answer was cut after 3 tokens" in row["error"] for row in rows)


def test_a_schema_that_cannot_be_kept_to(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which is said before a model is loaded."""
    file = tmp_path / "schema.json"
    file.write_text('{"properties": {"a": {"not": {}}}}')
    assert main(["caption", str(photos), "--schema", str(file), "-o", str(tmp_path / "c.csv")]) == 2
    said = capsys.readouterr().err
    assert "--schema: the keyword 'not' at $.properties.a is not honoured" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nowhere -o c.jsonl", "nowhere: there is no such file or folder"),
        ("photos -o photos/0.png", "it is called as a picture is"),
        ("photos -o c.foo", "there is no format .foo"),
        ("photos -o none/c.jsonl", "there is no folder none"),
        ("photos -o c.jsonl --errors c.jsonl", "can't be two of output, errors and journal"),
        ("photos -o c.jsonl --fields file,colour", "colour"),
        ("photos/0.png -o c.jsonl --prompt {title}", "{title} is not known"),
        ("photos -o c.jsonl --schema s.json", "s.json can't be read"),
        ("photos -o c.jsonl --overwrite --retry-failed", "--retry-failed goes on with a job"),
        ("photos -o c.jsonl --workers http://127.0.0.1:9 --dtype float32", "--dtype is of a model"),
        ("photos -o c.jsonl --workers http://127.0.0.1:9 --ray", "take one"),
        ("photos/0.png -o c.jsonl --column x", "no source is a table"),
        ("photos -o c.jsonl --model nowhere.gguf", "nowhere.gguf"),
        ("photos -o c.jsonl --progress loud", "invalid choice: 'loud'"),
    ],
)
def test_what_can_not_be_is_said_before_anything_is_loaded(
    words: str,
    message: str,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(photos.parent)
    try:
        status = main(["caption", *words.split()])
    except SystemExit as ended:  # argparse
        status = int(str(ended.code))
    said = capsys.readouterr().err
    assert status == 2, said
    assert message in said
    assert said.count("\n") == 1
    assert os.listdir(".") == ["photos"]
