"""The prompts of a job: what is taken, what is asked, and what is refused before anything runs."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from octavo.app.captioning.picture import FileAt, Picture, PictureError
from octavo.app.captioning.prompts.options import add_prompt_options, prompt_set_of
from octavo.app.captioning.prompts.prompt_set import PromptSet
from octavo.app.captioning.task import Question, asked_of
from octavo.core.protocol.errors import RequestError
from octavo.core.protocol.media_limits import MediaLimits
from PIL import Image

PICTURE = Picture("photos/rex.jpg", FileAt("photos/rex.jpg"))


def typed(*words: str) -> PromptSet:
    parser = argparse.ArgumentParser()
    add_prompt_options(parser)
    return prompt_set_of(parser.parse_args(words))


def asked(prompts: PromptSet, digest: str = "00") -> list[Question]:
    return list(prompts.questions(PICTURE, digest, b""))


def refused(*words: str) -> str:
    with pytest.raises(RequestError) as error:
        typed(*words)
    return str(error.value)


@pytest.fixture
def dog(tmp_path: Path) -> Path:
    path = tmp_path / "a=dog.png"
    Image.new("RGB", (4, 4), "brown").save(path)
    return path


def test_without_options() -> None:
    (question,) = asked(typed("--temperature", "0"))
    parts = [{"type": "image"}, {"type": "text", "text": "What is in this picture?"}]
    assert question == Question(
        "caption", ({"role": "user", "content": parts},), {"max_tokens": 64, "temperature": 0.0}
    )


def test_several_prompts_in_order() -> None:
    prompts = typed(
        *(
            "--prompt",
            "tags=List tags of {stem}",
            "--prompt",
            "caption=",
            "--system",
            "In {folder}",
        ),
        *("--choices", "tags=cat, a dog", "--max-tokens", "9", "--top-p", "0.5"),
    )
    assert prompts.names == ("tags", "caption")
    tags, caption = asked(prompts)
    assert (tags.name, tags.choices) == ("tags", ("cat", "a dog"))
    assert tags.messages == (
        {"role": "system", "content": "In photos"},
        {
            "role": "user",
            "content": [{"type": "image"}, {"type": "text", "text": "List tags of rex"}],
        },
    )
    assert (caption.choices, caption.messages[1]["content"]) == ((), [{"type": "image"}])
    assert {key: tags.sampling[key] for key in ("max_tokens", "top_p")} == {
        "max_tokens": 9,
        "top_p": 0.5,
    }


@pytest.mark.parametrize(
    ("text", "name", "prompt"),
    [
        ("Is x=1?", "caption", "Is x=1?"),
        ("1=2?", "caption", "1=2?"),
        ("=", "caption", "="),
        ("caption=x=1?", "caption", "x=1?"),
        ("x=1?", "x", "1?"),
        ("Übersicht=a\nb", "Übersicht", "a\nb"),
    ],
)
def test_names_and_texts_are_told_apart(text: str, name: str, prompt: str) -> None:
    (question,) = asked(typed("--prompt", text))
    assert question.name == name
    assert question.messages[0]["content"][1]["text"] == prompt


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--prompt", "a", "--prompt", "b"), "two prompts are named caption; name each"),
        (("--prompt", "a=1", "--prompt", "a=2"), "two prompts are named a"),
        (("--prompt", "my-tags=x"), "my-tags can't name a prompt; write my_tags="),
        (("--prompt", "file=x"), "--prompt: file can't name a prompt"),
        (("--prompt", "width=x"), "such as my_width"),
        (("--prompt", "t={exif.dates}"), "--prompt t: {exif.dates} is not known; did you mean"),
        (("--system", "{stem"), "--system has a { without"),
        (("--temperature", "3"), "--temperature must be between 0 and 2, got 3.0"),
        (("--temperature", "nan"), "--temperature must be between 0 and 2, got nan"),
        (("--top-p", "0"), "--top-p must be above 0"),
        (("--max-tokens", "0"), "--max-tokens must be at least 1"),
        (("--seed", str(2**63)), "--seed must be a 64-bit integer"),
        (("--max-words", "0"), "--max-words must be at least 1"),
        (("--choices", "a,,b"), "--choices has one that is empty"),
        (("--choices", "a,b, a"), "--choices has 'a' twice"),
        (("--choices", "a;b"), "--choices needs two answers or more"),
        (("--choices", "caption=a,b", "--choices", "a,c"), "those of caption are given twice"),
        (("--choices", "captoin=a,b"), "no prompt is named captoin; did you mean caption"),
        (
            ("--prompt", "a=1", "--prompt", "b=2", "--choices", "x,y"),
            "there are 2 prompts (a, b), and it doesn't say which of them is meant",
        ),
        (("--prompt", "a=1", "--prompt", "b=2", "--example", "x=y"), "in a file of prompts"),
        (("--prefix", "{folder}: "), "--prefix is written as it is"),
        (("--trigger-words", "sks,{stem}"), "--trigger-words is written as it is"),
        (("--trigger-words", "sks,,x"), "--trigger-words has one that is empty"),
        (("--prompt", "a\udcff"), "--prompt caption must be UTF-8"),
        (("--choices", "a\udcff,b"), "--choices must be UTF-8"),
        (("--schema", "x.json"), "--schema: x.json can't be read: No such file"),
        (("--prompts", "x.toml", "--prompt", "a"), "--prompt and --prompts are both given"),
        (("--example", "dog.png"), "dog.png must be IMAGE=ANSWER"),
        (("--example", "no\udcff.png=a dog"), "no\\xff.png is no file"),
    ],
)
def test_what_is_refused(words: tuple[str, ...], message: str) -> None:
    assert message in refused(*words)


@pytest.mark.parametrize(
    ("prompts", "shared", "message"),
    [
        ({}, {}, "there is no prompt"),
        ({"a": 3}, {}, "prompts: a must be a text or a table"),
        ({"a": {"system": "x"}}, {}, "prompts.a.text is missing"),
        ({"a": {"text": "x", "temprature": 1}}, {}, "prompts.a.temprature is no field that is"),
        (
            {"a": {"text": "x", "max_tokens": "9"}},
            {},
            "prompts.a.max_tokens must be a whole n",
        ),
        ({"a": {"text": "x", "strip": 1}}, {}, "prompts.a.strip must be true or false, got 1"),
        ({"a": {"text": "x", "choices": "ab"}}, {}, "prompts.a.choices must be a list of texts"),
        ({"a": "x"}, {"schema": "y"}, "schema must be a JSON Schema, as a table, got 'y'"),
        ({"a": {"text": "x", "choices": ["a", "b"]}}, {"schema": {}}, "can't be joined with"),
        ({"a": {"text": "x", "max_words": 3, "schema": {}}}, {}, "prompts.a.max_words can't be jo"),
        ({"a": "x"}, {"schema": {"enum": ["y" * 2**17]}}, "schema has 131"),
        ({"a": {"text": "x", "stop": [""]}}, {}, "prompts.a.stop must be made of strings that"),
        ({"a": {"text": "x", "min_tokens": 65}}, {}, "prompts.a.min_tokens is 65, more than max"),
        ({"a": "x"}, {"temperatur": 0}, "did you mean temperature"),
        ({"a": "x"}, {"n": 2}, "n is no field that is known here"),
        ({"a b": "x"}, {}, "'a b' can't name a prompt"),
        ({"a": {"text": "x", "examples": ["x"]}}, {}, "prompts.a.examples[0] must be a table"),
        ({"a": {"text": "x", "examples": [{"image": "x"}]}}, {}, "examples[0] needs answer"),
        (
            {"a": {"text": "x", "examples": [{"image": "x", "answer": "y", "txt": ""}]}},
            {},
            "examples[0].txt is no field that is known here; did you mean text",
        ),
    ],
)
def test_what_python_is_refused(prompts: Any, shared: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as error:
        PromptSet.of(prompts, **shared)
    assert message in str(error.value)


def test_what_is_nearer_wins() -> None:
    prompts = PromptSet.of(
        {"a": {"text": "x", "max_tokens": 5}, "b": "y"}, max_tokens=7, system="s"
    )
    a, b = asked(prompts)
    assert (a.sampling["max_tokens"], b.sampling["max_tokens"]) == (5, 7)
    assert a.messages[0] == b.messages[0] == {"role": "system", "content": "s"}


def test_seeds_depend_on_nothing_but_content_prompt_and_seed() -> None:
    first = PromptSet.of({"a": "x", "b": "y"}, seed=7, temperature=1)
    seeds = {(d, q.name): q.sampling["seed"] for d in ("0a", "0b") for q in asked(first, d)}
    again = PromptSet.of({"b": "y", "a": "x"}, seed=7, temperature=1)
    reversed_seeds = {
        (d, q.name): q.sampling["seed"] for d in ("0b", "0a") for q in asked(again, d)
    }
    assert seeds == reversed_seeds
    assert len(set(seeds.values())) == 4
    assert all(0 <= seed < 2**31 for seed in seeds.values())
    digest = hashlib.sha256(b"7\x000a\x00a").hexdigest()
    assert seeds["0a", "a"] == int(digest[:8], 16) // 2
    (other,) = asked(PromptSet.of({"a": "x"}, seed=8, temperature=1), "0a")
    assert other.sampling["seed"] != seeds["0a", "a"]


@pytest.mark.parametrize(
    ("shared", "has_seed"),
    [
        ({}, True),  # the model's own temperature may be above 0
        ({"temperature": 0.0}, False),
        ({"temperature": 0.5}, True),
        ({"temperature": 0.0, "seed": 0}, True),
    ],
)
def test_where_nothing_is_drawn_there_is_no_seed(shared: dict[str, Any], has_seed: bool) -> None:
    prompts = PromptSet.of("x", **shared)
    (question,) = asked(prompts)
    assert ("seed" in question.sampling) is has_seed
    assert ("seed" in prompts.facts["caption"]) is has_seed


def test_facts_are_plain_and_differ_with_whatever_changes_an_answer(dog: Path) -> None:
    prompts: dict[str, Any] = {"text": "x {stem}", "examples": [{"image": str(dog), "answer": "d"}]}
    changes = [
        {"text": "y"},
        {"system": "s"},
        {"choices": ["a", "b"]},
        {"schema": {}},
        {"schema": {"type": "string"}},
        {"temperature": 0.5},
        {"max_tokens": 5},
        {"seed": 3},
        {"stop": ["."]},
        {"strip": True},
        {"max_words": 3},
        {"prefix": "p"},
        {"suffix": "s"},
        {"trigger_words": ["t"]},
        {"examples": [{"image": str(dog), "answer": "e"}]},
        {"examples": [{"image": str(dog), "answer": "d", "text": "z"}]},
    ]
    facts = [PromptSet.of({"caption": {**prompts, **change}}).facts for change in [{}, *changes]]
    assert json.loads(json.dumps(facts)) == facts
    assert len({json.dumps(fact) for fact in facts}) == len(facts)
    digest = hashlib.sha256(dog.read_bytes()).hexdigest()
    assert facts[0]["caption"]["examples"] == [{"digest": digest, "text": "x a=dog", "answer": "d"}]


def test_examples_as_they_are_typed(dog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(dog.parent)
    prompts = typed("--prompt", "What is {stem}?", "--example", "a=dog.png=a=b")
    assert prompts.max_images == 2
    (question,) = asked(prompts)
    first, answer, last = question.messages
    assert first["content"][1] == {"type": "text", "text": "What is a=dog?"}
    assert answer == {"role": "assistant", "content": "a=b"}
    assert last["content"] == [{"type": "image"}, {"type": "text", "text": "What is rex?"}]


def test_examples_are_read_and_checked_once_and_up_front(dog: Path) -> None:
    prompts = PromptSet.of(
        {
            name: {"text": "x", "examples": [{"image": str(dog), "answer": "d"}]}
            for name in ("a", "b")
        }
    )
    dog.unlink()
    assert len(asked(prompts)) == 2


def test_what_examples_are_refused(dog: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "broken.png").write_bytes(dog.read_bytes()[:50])
    cases = {
        "pipe.png": "is no regular file",
        "": "is no regular file",
        "missing.png": "can't be read: No such file",
        "broken.png": "truncated or damaged",
        "a\0b": "can't be read",
    }
    for name, message in cases.items():
        table = {"text": "x", "examples": [{"image": f"{tmp_path}/{name}", "answer": "d"}]}
        with pytest.raises(RequestError) as error:
            PromptSet.of({"a": table})
        assert str(error.value).startswith(f"prompts.a.examples[0]: {tmp_path}")
        assert message in str(error.value)
    table = {"text": "{title}", "examples": [{"image": str(dog), "answer": "d"}]}
    with pytest.raises(RequestError, match="or give the example a text of its own"):
        PromptSet.of({"a": table})
    with pytest.raises(RequestError, match="4 x 4 pixels, more than the 15 allowed"):
        PromptSet.of({"a": {**table, "text": "x"}}, MediaLimits(max_pixels=15))


def test_a_picture_that_lacks_something_fails_by_itself() -> None:
    prompts = PromptSet.of({"a": "x", "b": "{title}"})
    with pytest.raises(PictureError, match=r"^prompts\.b\.text asks for \{title\}"):
        asked(prompts)
    prompts.check_columns(["title"])
    with pytest.raises(RequestError, match=r"prompts\.b\.text: {title} is not known"):
        prompts.check_columns([])


@pytest.mark.parametrize(
    ("text", "system", "expected"),
    [
        ("x {exif.date|} {width} {height}", "s", True),
        ("{stem}", "s", False),
        ("x", "{path}", False),
        ("{title|}", "s", False),
    ],
)
def test_whether_copies_are_asked_the_same(text: str, system: str, expected: bool) -> None:
    prompts = PromptSet.of({"a": "x", "b": text}, system=system)
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    data = file.getvalue()
    copy = Picture("else/where.png", FileAt("else/where.png"), {"title": "other"})
    first, second = (prompts.questions(p, "00", data) for p in (PICTURE, copy))
    assert (asked_of("00", first) == asked_of("00", second)) is expected


def test_it_may_go_to_another_process(dog: Path) -> None:
    prompts = PromptSet.of(
        {"a": {"text": "{stem}", "examples": [{"image": str(dog), "answer": "d"}]}}
    )
    copy = pickle.loads(pickle.dumps(prompts))
    assert asked(copy) == asked(prompts)
    assert copy.facts == prompts.facts


def test_answers_are_finished_by_the_prompt_that_they_answer() -> None:
    prompts = PromptSet.of({"a": {"text": "x", "prefix": "A: "}, "b": "y"}, strip=True)
    assert (prompts.finish("a", " one "), prompts.finish("b", " two ")) == ("A: one", "two")


def test_post_processing_as_it_is_typed() -> None:
    prompts = typed(
        *("--strip", "--max-words", "2", "--prefix", "a ", "--suffix", "!"),
        *("--trigger-words", "sks, x"),
    )
    assert prompts.finish("caption", ' "one two three" ') == "sks, x, a one two!"
