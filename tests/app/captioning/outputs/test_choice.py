"""Which output a name means, and what is refused before anything is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from caption_rows import PNG, failed, row, rows_of, write_all
from octavo import RequestError
from octavo.app.captioning.outputs.open_sink import sink_for
from octavo.app.captioning.outputs.output_options import OutputOptions
from octavo.app.captioning.outputs.sink import START

OPTIONS = OutputOptions(("caption", "tags"))
ENDINGS = r"\.jsonl, \.ndjson, \.csv, \.tsv, \.parquet, \.tar"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("out.xlsx", f"there is no format .xlsx; .*{ENDINGS}"),
        ("out", f"its name has no ending; .*{ENDINGS}"),
        ("out.jsonl.gz", r"\.gz can't be gone on with after a crash, so compress it afterwards"),
        ("photo.JPG", "it is called as a picture is"),
        (".", "is a folder: name a file in it"),
    ],
)
def test_names_that_are_refused(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        sink_for(tmp_path / name, OPTIONS)
    assert not os.listdir(tmp_path)


def test_nowhere_to_write() -> None:
    with pytest.raises(RequestError, match="name a file with -o, or --sidecar"):
        sink_for(None, OPTIONS)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            OutputOptions(("caption",), ("file", "colour"), ("age",)),
            "'colour'; there are file, cap.*age",
        ),
        (OutputOptions(("caption",), ("file", "file")), "--fields: 'file' is there twice"),
        (OutputOptions(("error",)), "a prompt can't be called 'error'"),
    ],
)
@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.parquet", "out.tar", "-"])
def test_fields_that_are_refused(
    tmp_path: Path, name: str, options: OutputOptions, reason: str
) -> None:
    with pytest.raises(RequestError, match=reason):
        sink_for(Path(name) if name == "-" else tmp_path / name, options)


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.tsv", "out.parquet"])
def test_what_is_there_is_kept(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("")
    sink_for(path, OPTIONS).check()
    path.write_text("by somebody")
    with pytest.raises(RequestError) as raised:
        sink_for(path, OPTIONS).check()
    message = str(raised.value)
    assert f"{name} exists and would be overwritten; " in message
    assert all(flag in message for flag in ("--overwrite", "--only-missing", "-o"))
    sink_for(path, OutputOptions(("caption",), overwrite=True)).check()
    sink_for(path, OutputOptions(("caption",), goes_on=True)).check()
    path.write_bytes(PNG)
    with pytest.raises(RequestError, match="is a picture, which isn't overwritten"):
        sink_for(path, OutputOptions(("caption",), overwrite=True)).check()
    assert path.read_bytes() == PNG


def test_the_file_beside_a_csv_is_kept(tmp_path: Path) -> None:
    (tmp_path / "out.csv-metadata.json").write_text("{}")
    with pytest.raises(RequestError, match=r"out\.csv-metadata\.json exists and would be overwr"):
        sink_for(tmp_path / "out.csv", OPTIONS).check()


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.parquet", "out.tar"])
def test_folders_that_can_not_be_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match=r"there is no folder .*none; make it"):
        sink_for(tmp_path / "none" / name, OPTIONS).check()
    with pytest.raises(RequestError, match="change the permissions of its folder"):
        sink_for(Path("/proc/self") / name, OPTIONS).check()


def test_names_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.jsonl", "a.csv", "a.parquet", "a.TAR"):
        write_all(sink_for(Path(name), OutputOptions(("caption",))), [row("a")], {"octavo": {}})
    assert sorted(os.listdir(tmp_path)) == [
        *("a-000000.tar", "a.csv", "a.csv-metadata.json", "a.jsonl", "a.parquet")
    ]


def test_standard_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    sink = sink_for(Path("-"), OutputOptions(("caption",)))
    rows = [row("a"), failed("b\n")]
    sink.check()
    assert sink.begin(START, {"octavo": {"model": "m"}}) == START
    for number, r in enumerate(rows, 2):
        assert sink.write([r]) == START
        if number == 2:
            assert capfdbinary.readouterr().out.count(b"\n") == 2
    sink.finish(rows_of(rows))
    assert json.loads(capfdbinary.readouterr().out) == {"file": "b\n", "error": "it is broken"}
    with pytest.raises(RequestError, match="name a file with -o"):
        sink.names()


def test_a_pipe(tmp_path: Path) -> None:
    """As of `-o >(gzip > out.gz)`."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_all(sink_for(pipe, OutputOptions(("caption",))), [row("a"), row("b")])
    reader.join()
    assert [json.loads(line)["file"] for line in read[0].splitlines()] == ["a", "b"]


@pytest.mark.parametrize("path", ["/dev/full", "-"])
def test_streams_that_take_nothing(path: str) -> None:
    code = (
        "from pathlib import Path\n"
        "from octavo.app.captioning.outputs.open_sink import sink_for\n"
        "from octavo.app.captioning.outputs.output_options import OutputOptions\n"
        f"sink = sink_for(Path({path!r}), OutputOptions(('caption',)))\n"
        "try:\n"
        "    sink.begin((0, 0), {'octavo': {}})\n"
        "except OSError as error:\n"
        "    print(error, file=__import__('sys').stderr)\n"
    )
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True
        )
    name = "standard output" if path == "-" else path
    assert f"No space left on device: '{name}'" in ended.stderr
