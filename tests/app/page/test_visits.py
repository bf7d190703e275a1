"""Whose files are on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from octavo.app.page.frame.visits import Visits


def put(folder: Path, name: str) -> Path:
    """A file as Gradio keeps it."""
    path = folder / name / "picture.png"
    path.parent.mkdir()
    path.write_bytes(b"x")
    return path


@pytest.fixture
def visits(tmp_path: Path) -> Visits:
    made = Visits(tmp_path)
    made.begin("ann")
    made.begin("ben")
    return made


def test_files_go_with_the_last_who_has_them(visits: Visits, tmp_path: Path) -> None:
    anns, both = put(tmp_path, "1"), put(tmp_path, "2")
    visits.keep("ann", [anns, both])
    visits.keep("ben", [both])
    visits.end("ann")
    assert not anns.parent.exists()
    assert both.exists()
    visits.end("ben")
    assert list(tmp_path.iterdir()) == []


def test_what_was_never_sent_goes_with_the_last_visitor(visits: Visits, tmp_path: Path) -> None:
    unsent = put(tmp_path, "1")
    visits.end("ben")
    assert unsent.exists()
    visits.end("ann")
    assert not unsent.exists()


def test_files_are_dropped_before_the_end(visits: Visits, tmp_path: Path) -> None:
    anns, bens = put(tmp_path, "1"), put(tmp_path, "2")
    visits.keep("ann", [anns])
    visits.keep("ben", [bens])
    visits.drop("ann", [anns, bens])
    assert not anns.exists()
    assert bens.exists()


def test_nothing_elsewhere_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    visits = Visits(tmp_path / "cache")
    elsewhere = put(tmp_path, "1")
    visits.keep("ann", [elsewhere])
    visits.end("ann")
    assert elsewhere.exists()


def test_who_wants_to_is_told_once(visits: Visits) -> None:
    told: list[str] = []

    def tell() -> None:
        told.append("end")

    visits.at_end("ann", tell)
    visits.at_end("ann", tell)
    visits.end("ann")
    visits.end("ann")
    assert told == ["end"]
