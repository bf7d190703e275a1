"""What is seen of a job: on a real terminal, by machines, and where nobody looks."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
import unicodedata
from contextlib import suppress

import pytest
from octavo.app.captioning import progress as progress_module
from octavo.app.captioning.census import Census
from octavo.app.captioning.picture import Skip
from octavo.app.captioning.progress import KINDS, Kind, Progress
from octavo.app.captioning.progress_views import JsonObjects
from octavo.core.protocol.errors import RequestError

JOB = """
import logging, sys
from octavo.app.captioning.progress import Progress
logging.basicConfig(format="%(message)s")
with Progress(sys.argv[1]) as progress:
    progress.set_total(4)
    progress.update(captioned=1, failed=1, tokens=9, cached=5, name=NAME)
    logging.warning("the log goes on")
"""
#: A name that would break the line, leave the terminal in a mess, or be too long.
NAME = "a\n\x1b[2J\x07" + "狗" * 100 + "\udcff.jpg"


def on_terminal(kind: str, columns: int, encoding: str = "utf-8") -> str:
    """All that a job writes to one."""
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    code = JOB.replace("NAME", ascii(NAME))
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-c", code, kind]
    subprocess.run(command, stderr=writer, check=True, env=environment)
    os.close(writer)
    shown = b""
    while True:
        try:
            shown += os.read(reader, 2**16)
        except OSError:  # at its end
            break
    os.close(reader)
    return shown.decode(encoding)


def width_of(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


@pytest.mark.parametrize("kind", ["auto", "bar"])
def test_a_terminal_has_one_line_that_is_drawn_anew(kind: str) -> None:
    shown = on_terminal(kind, 60)
    drawn = [part for part in shown.replace("\n", "\r").split("\r") if "of 4" in part]
    assert drawn[-1].startswith(" 50%|█████     | 2 of 4, ")
    assert all(width_of(line) <= 60 for line in drawn)
    assert "\x1b[2J" not in shown
    assert "\x07" not in shown
    # Only the log and the summary are lines, and neither stands behind the bar.
    *lines, end = shown.split("\r\n")
    assert [line.rpartition("\r")[2] for line in lines] == [
        "the log goes on",
        lines[-1].rpartition("\r")[2],
    ]
    assert lines[-1].rpartition("\r")[2].startswith("octavo: captioned 1 picture in 0:00:0")
    assert lines[-1].endswith("1 failed, 5 cached")
    assert end == ""


def test_all_is_in_the_line_where_there_is_room() -> None:
    shown = on_terminal("auto", 500)
    drawn = [part for part in shown.split("\r") if "of 4" in part][-1]
    for part in ("pictures/s", "tokens/s", "left, 1 failed, 5 cached, a??[2J?狗狗"):
        assert part in drawn
    assert drawn.rstrip().endswith("狗\\xff.jpg")


def test_a_terminal_that_has_not_all_letters() -> None:
    """What Python would escape there is longer than what is counted."""
    shown = on_terminal("auto", 60, "latin-1")
    drawn = [part for part in shown.split("\r") if "of 4" in part]
    assert all(len(part) <= 60 for part in drawn)
    assert "\\u" not in shown


def run(kind: Kind, census: Census | None = None) -> str:
    stream = io.StringIO()
    with Progress(kind, census, stream) as progress:
        progress.set_total(4)
        progress.update(captioned=2, tokens=8, name="a\n\udcff.jpg")
        progress.update(failed=1, skipped=1)
    return stream.getvalue()


def test_elsewhere_it_is_quiet_until_the_summary() -> None:
    census = Census()
    census.add(Skip("hidden", "x/.a"))
    first, second = run("auto", census).splitlines()
    assert first.startswith("octavo: captioned 2 pictures in 0:00:0")
    assert first.endswith("1 failed, 1 skipped")
    assert second == "octavo: skipped 1 (hidden): x/.a"


def test_none() -> None:
    assert run("none") == ""


def test_machines_get_objects_in_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """One every few seconds: here, one as soon as there is something."""
    monkeypatch.setattr(JsonObjects, "interval", 0.001)
    census = Census()
    written = threading.Event()

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            count = super().write(text)
            if '"captioned": 2' in text:
                written.set()
            return count

    stream = Stream()
    with Progress("json", census, stream) as progress:
        progress.set_total(4)
        progress.update(captioned=2, tokens=8, cached=3, name="a\n\udcff.jpg")
        assert written.wait(60)
        census.add(Skip("hidden", "x/.a"))
    *objects, end = [json.loads(line) for line in stream.getvalue().splitlines()]
    last = objects[-1]
    assert {name: last[name] for name in ("event", "captioned", "total", "file")} == {
        "event": "progress",
        "captioned": 2,
        "total": 4,
        "file": "a\n\\xff.jpg",
    }
    assert (end["event"], end["skipped_kinds"], end["cached"]) == ("end", {"hidden": 1}, 3)
    assert (end["captioned"], end["tokens"]) == (2, 8)


def test_where_the_log_is_json_so_is_the_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "logs_json", lambda: True)
    (line,) = run("auto").splitlines()
    assert json.loads(line)["event"] == "end"


def test_an_error_has_its_summary_too() -> None:
    stream = io.StringIO()
    with suppress(KeyError), Progress("auto", stream=stream) as progress:
        progress.update(captioned=1)
        raise KeyError
    assert stream.getvalue().startswith("octavo: captioned 1 picture")


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_that_is_gone_ends_no_job(kind: Kind) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = open(writer, "w")  # noqa: SIM115 - closing it may fail
    with Progress(kind, stream=stream) as progress:
        progress.update(captioned=1)
    assert progress.summary.startswith("captioned 1 picture")
    with suppress(BrokenPipeError):  # of what it holds back
        stream.close()


def test_several_threads_may_tell() -> None:
    with Progress("none") as progress:
        threads = [
            threading.Thread(target=lambda: [progress.update(captioned=1) for _ in range(5000)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert progress.summary.startswith("captioned 20,000 pictures")


def test_an_unknown_kind() -> None:
    with pytest.raises(RequestError, match="--progress must be one of auto, bar, json, none"):
        Progress("verbose")  # type: ignore[arg-type]
