"""Pictures as parts of a message, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from octavo.app.page.parts.picture_parts import numbered, picture_part, unplaced
from octavo.app.page.server.server_api import ServerError


@pytest.mark.parametrize(
    ("said", "of_several", "of_one"),
    [
        ("messages[2].content[1].image_url: torn", "picture 2: torn", "torn"),
        ("messages[0].content[0]: torn", "picture 1: torn", "torn"),
        ("input[0].image_url: torn", "picture 1: torn", "torn"),
        ("messages[0].role: no such", "messages[0].role: no such", "messages[0].role: no such"),
        ("the server is full", "the server is full", "the server is full"),
    ],
)
def test_the_place_of_a_picture(said: str, of_several: str, of_one: str) -> None:
    assert numbered(ServerError(said)) == of_several
    assert unplaced(ServerError(said)) == of_one


def test_a_file_too_large_for_a_picture_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(ServerError, match=r"huge.png has 65 MiB; the page takes 64 MiB"):
        picture_part(path)
