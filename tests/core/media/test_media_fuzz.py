"""Damaged files of every format: a picture of the header's size or a MediaError, nothing else."""

from __future__ import annotations

from collections import Counter

import pytest
from image_mutations import mutated_files, whole_files
from octavo.core.media.decode import decode_image
from octavo.core.media.headers.image_header import FORMATS, read_header
from octavo.core.protocol.media_error import MediaError
from octavo.core.protocol.media_limits import MediaLimits

COUNT, SEED = 2000, 2026
LIMITS = MediaLimits(max_pixels=4_000_000)


def outcome(data: bytes) -> str:
    """The format, or "refused". Fails for any exception but MediaError, and for warnings."""
    try:
        header = read_header(data, LIMITS)
        picture = decode_image(data, LIMITS)
    except MediaError as error:
        return "refused" if "object at 0x" not in str(error) else f"unclear: {error}"
    assert picture.mode == "RGB"
    assert picture.size == header.size
    return header.format


@pytest.mark.parametrize("name", whole_files())
def test_whole_files_decode(name: str) -> None:
    assert outcome(whole_files()[name]) in FORMATS


def test_damaged_files() -> None:
    outcomes = Counter(outcome(data) for _, data in mutated_files(COUNT, SEED))
    assert set(outcomes) == {"refused", *FORMATS}
    assert COUNT * 0.5 < outcomes["refused"] < COUNT * 0.9


def test_mutations_are_repeatable() -> None:
    assert list(mutated_files(50, 1)) == list(mutated_files(50, 1))
    assert list(mutated_files(50, 1)) != list(mutated_files(50, 2))
