"""What is made of answers."""

from __future__ import annotations

import pytest
from octavo.app.captioning.prompts.postprocess import PostProcess


@pytest.mark.parametrize("text", ["", " A dog. \n", '"A dog"', "Caption: a dog"])
def test_nothing_is_changed_that_was_not_asked_for(text: str) -> None:
    assert PostProcess()(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        (" A dog.\n", "A dog."),
        ('"A dog."', "A dog."),
        ("“A dog.”", "A dog."),
        ("„Ein Hund.“", "„Ein Hund.“".strip("„“")),
        ("Caption: A dog.", "A dog."),
        ('Caption: "A dog."', "A dog."),
        ('"Caption: A dog."', "A dog."),
        ("DESCRIPTION :\nA dog.", "A dog."),
        ("A caption: a dog", "A caption: a dog"),
        ("Captions: a dog", "Captions: a dog"),
        ('"A" and "B"', '"A" and "B"'),
        ("'A dog's ball'", "'A dog's ball'"),
        ('"', '"'),
        ('A "dog"', 'A "dog"'),
        ("A dog.\n\nIt runs.", "A dog.\n\nIt runs."),
    ],
)
def test_strip(text: str, expected: str) -> None:
    assert PostProcess(strip=True)(text) == expected


@pytest.mark.parametrize(
    ("count", "text", "expected"),
    [
        (3, "a big brown dog", "a big brown"),
        (4, "a big brown dog", "a big brown dog"),
        (4, "a big brown dog,", "a big brown dog,"),
        (2, "cat, dog, cow", "cat, dog"),
        (2, "a dog - and a cat", "a dog"),
        (3, "a dog - and a cat", "a dog"),
        (2, "a\n\ndog runs", "a\n\ndog"),
        (1, "", ""),
    ],
)
def test_max_words(count: int, text: str, expected: str) -> None:
    assert PostProcess(max_words=count)(text) == expected


@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        (("sks", "dog"), "a cat", "sks, dog, a cat"),
        (("sks", "dog"), "a Dog runs", "sks, a Dog runs"),
        (("sks",), "sks runs", "sks runs"),
        (("dog",), "a hotdog", "dog, a hotdog"),
        (("c++",), "in c++", "in c++"),
        (("sks",), "", "sks"),
    ],
)
def test_trigger_words(words: tuple[str, ...], text: str, expected: str) -> None:
    finish = PostProcess(trigger_words=words)
    assert finish(text) == expected
    assert finish(expected) == expected


def test_the_order() -> None:
    finish = PostProcess(True, 2, "a photo of ", ", outdoors", ("sks", "photo"))
    assert finish(' "Caption: one two, three four" ') == "sks, a photo of one two, outdoors"
