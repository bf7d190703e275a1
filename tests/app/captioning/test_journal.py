"""The journal of a job: what it keeps over crashes, and who may have it."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from octavo import RequestError
from octavo.app.captioning.journal import Entry, Journal, Written, key_of
from octavo.app.captioning.outputs.sink import START
from octavo.app.captioning.picture import FileAt, MemberAt, Picture, UrlAt


def entry(number: int, error: str | None = None) -> Entry:
    texts = {} if error else {"caption": f"text {number}"}
    name = f"{number}.png".encode()
    return Entry(name, name, f"asked {number}".encode(), texts, error, {"width": number})


def added(journal: Journal, *numbers: int, written: int = 0) -> list[int]:
    entries = [(bytes([number]), entry(number)) for number in numbers]
    return journal.add(entries, Written(written, {"output": (0, written)}))


def test_what_it_keeps(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    assert journal.facts is None
    assert journal.written == Written(0)
    assert journal.origin("output") == START
    journal.begin({"model": "a", "prompts": {"caption": {"text": "What?"}}}, {"output": (0, 7)})
    assert added(journal, 1, 2) == [1, 2]
    assert added(journal, 2, 3, written=2) == [0, 4]
    journal.close()
    journal = Journal(tmp_path / "journal")
    assert journal.facts == {"model": "a", "prompts": {"caption": {"text": "What?"}}}
    assert [pair for page in journal.pages() for pair in page] == [
        (number, entry(n)) for number, n in ((1, 1), (2, 2), (4, 3))
    ]
    assert [number for page in journal.pages(1) for number, _ in page] == [2, 4]
    assert journal.written == Written(2, {"output": (0, 2)})
    assert (journal.origin("output"), journal.origin("errors")) == ((0, 7), START)
    assert (journal.has(bytes([3])), journal.has(bytes([4]))) == (True, False)
    assert journal.find(b"asked 2") == entry(2)
    assert journal.count() == (3, 0)
    journal.close()


def test_failures_are_forgotten_and_all_is_to_be_written_anew(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    added(journal, 1, 2)
    places = {"output": (0, 9), "shards": (1, 512)}
    journal.add([(b"bad", entry(3, "broken"))], Written(2, places))
    assert journal.count() == (2, 1)
    assert journal.find(b"asked 3") is None
    assert journal.forget_failed({"shards"}) == 1
    assert journal.count() == (2, 0)
    assert journal.written == Written(2, {"shards": (1, 512)})
    assert journal.forget_failed({}) == 0
    assert journal.written == Written(2, {"shards": (1, 512)})
    # What is tried again comes after what outputs had, or a kill would lose it.
    assert added(journal, 3, written=3) == [4]
    journal.close()


def test_what_outputs_lack_is_forgotten_where_they_take_what_is_not_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    added(journal, 1, 2, 3)
    journal.keep_written(Written(2))
    journal.forget_unwritten()
    assert [number for page in journal.pages() for number, _ in page] == [1, 2]
    journal.close()


def test_one_job_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl.journal"
    journal = Journal(path)
    with pytest.raises(RequestError, match=r"captions\.jsonl\.journal is in use: another octavo"):
        Journal(path)
    journal.close()
    Journal(path).close()


def test_other_files_are_no_journals(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text("a diary, which is longer than any header of a data base " * 9)
    with pytest.raises(RequestError, match="is no journal, or damaged"):
        Journal(path)
    path.unlink()
    sqlite3.connect(path).execute("create table other (a)").connection.close()
    with pytest.raises(RequestError, match="is no journal of this version"):
        Journal(path)
    with pytest.raises(OSError, match="unable to open") as caught:
        Journal(tmp_path / "none" / "journal")
    assert caught.value.errno == errno.EACCES
    path = tmp_path / "empty"
    path.touch()  # by a process that was killed at once
    Journal(path).close()


def test_pictures_are_known_wherever_the_job_is_started_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(name: str) -> bytes:
        return key_of(Picture(name, FileAt(name)))

    absolute = key(str(tmp_path / "photos" / "a.jpg"))
    monkeypatch.chdir(tmp_path)
    assert key("photos/a.jpg") == key("./photos//a.jpg") == absolute
    monkeypatch.chdir("/")
    assert key("photos/a.jpg") != absolute
    assert key(os.fsdecode(b"caf\xe9.jpg")) != key("caf\\xe9.jpg")
    archive = Picture("a.zip!b.jpg", MemberAt("a.zip", "b.jpg"))
    assert key_of(archive) == key("/a.zip!b.jpg")
    urls = ["http://a/b.jpg", "http://a//b.jpg"]
    assert len({key_of(Picture(url, UrlAt(url))) for url in urls}) == 2


WRITER = """
import sys
from octavo.app.captioning.journal import Journal, Written
from test_journal import entry
journal = Journal(sys.argv[1])
for number in range(1, 100_000):
    journal.add([(number.to_bytes(4), entry(number))], Written(number - 1))
    print(number, flush=True)
"""


def test_what_was_kept_outlives_a_kill(tmp_path: Path) -> None:
    """And so does that outputs had what came before."""
    path = tmp_path / "journal"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
    said = int(lines[-1])
    journal = Journal(path)
    numbers = [number for page in journal.pages() for number, _ in page]
    assert numbers in (list(range(1, said + 1)), list(range(1, said + 2)))
    assert journal.written.last == numbers[-1] - 1
    journal.close()
