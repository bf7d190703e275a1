"""What differs between two answers is marked, and nothing else."""

from __future__ import annotations

import random
import re
from html import unescape

import pytest
from octavo.app.page.compare.word_differences import marked_differences


@pytest.mark.parametrize(
    ("left", "right", "marked"),
    [
        ("a red dog", "a blue dog", ("a <mark>red</mark> dog", "a <mark>blue</mark> dog")),
        ("a dog", "a dog.", ("a dog", "a dog<mark>.</mark>")),
        ("", "a dog", ("", "<mark>a dog</mark>")),
        ("<b>", "<i>", ("&lt;<mark>b</mark>&gt;", "&lt;<mark>i</mark>&gt;")),
        ("我喜欢狗", "我喜欢猫", ("我喜欢<mark>狗</mark>", "我喜欢<mark>猫</mark>")),
        ("one\n\ntwo", "one\n\ntwo", ("one\n\ntwo", "one\n\ntwo")),
    ],
)
def test_marks(left: str, right: str, marked: tuple[str, str]) -> None:
    assert marked_differences(left, right) == marked


def test_both_texts_stay_whole_and_the_rest_is_common() -> None:
    rng = random.Random(0)
    for _ in range(100):
        left, right = (
            "".join(rng.choice(["a ", "dog", ", ", "<", "狗", "\n"]) for _ in range(12))
            for _ in range(2)
        )
        marked = marked_differences(left, right)
        assert [unescape(re.sub("</?mark>", "", html)) for html in marked] == [left, right]
        rests = [re.sub("<mark>.*?</mark>", "", html, flags=re.S).split() for html in marked]
        assert "".join(rests[0]) == "".join(rests[1])
