"""Files of prompts: the same in each format, and what is refused in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from octavo.app.captioning.picture import FileAt, Picture
from octavo.app.captioning.prompts.prompt_set import PromptSet
from octavo.core.protocol.errors import RequestError
from PIL import Image

TOML = """
system = "You are terse."
max_tokens = 9
strip = true

[prompts]
caption = "What is {stem}?"

[prompts.tags]
text = "Which?"
choices = ["yes", "no"]
temperature = 0
top_k = 5
repetition_penalty = 1.5
max_tokens = 5
strip = false
trigger_words = ["sks"]

[[prompts.tags.examples]]
image = "shots/dog.png"
answer = "yes"

[[prompts.tags.examples]]
image = "shots/dog.png"
answer = "no"
text = "Is it a cat?"
"""
#: The same, as data.
DATA: dict[str, Any] = {
    "system": "You are terse.",
    "max_tokens": 9,
    "strip": True,
    "prompts": {
        "caption": "What is {stem}?",
        "tags": {
            "text": "Which?",
            "choices": ["yes", "no"],
            "temperature": 0,
            "top_k": 5,
            "repetition_penalty": 1.5,
            "max_tokens": 5,
            "strip": False,
            "trigger_words": ["sks"],
            "examples": [
                {"image": "shots/dog.png", "answer": "yes"},
                {"image": "shots/dog.png", "answer": "no", "text": "Is it a cat?"},
            ],
        },
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shots").mkdir()
    Image.new("RGB", (4, 4), "brown").save(tmp_path / "shots" / "dog.png")
    return tmp_path


def read(path: Path, text: str, **options: Any) -> PromptSet:
    path.write_text(text, encoding="utf-8")
    return PromptSet.from_options(file=path, **options)


def test_each_format_says_the_same(folder: Path) -> None:
    sets = [
        read(folder / "p.toml", TOML),
        read(folder / "p.yaml", yaml.safe_dump(DATA)),
        read(folder / "p.YML", yaml.safe_dump(DATA)),
        read(folder / "p.json", json.dumps(DATA)),
        read(folder / "bom.json", "\ufeff" + json.dumps(DATA)),
    ]
    assert all(prompts.facts == sets[0].facts for prompts in sets)
    assert sets[0].names == ("caption", "tags")
    caption, tags = sets[0].questions(Picture("rex.jpg", FileAt("rex.jpg")), "00", b"")
    assert {k: v for k, v in caption.sampling.items() if k != "seed"} == {"max_tokens": 9}
    assert tags.sampling == {
        "max_tokens": 5,
        "temperature": 0,
        "top_k": 5,
        "repetition_penalty": 1.5,
    }
    assert tags.choices == ("yes", "no")
    assert [m["role"] for m in tags.messages] == ["system", *["user", "assistant"] * 2, "user"]
    texts = [m["content"][-1]["text"] for m in tags.messages if m["role"] == "user"]
    assert texts == ["Which?", "Is it a cat?", "Which?"]
    assert sets[0].finish("caption", " a ") == "a"
    assert sets[0].finish("tags", " a ") == "sks,  a "


def test_what_is_typed_wins(folder: Path) -> None:
    typed = {"max_tokens": 3, "strip": None, "choices": ["caption=a,b"], "temperature": 1.0}
    facts = read(folder / "p.toml", TOML, **typed).facts
    assert [facts[name]["max_tokens"] for name in facts] == [3, 3]
    assert facts["caption"]["choices"] == ["a", "b"]
    assert facts["tags"]["choices"] == ["yes", "no"]
    assert facts["tags"]["temperature"] == 1
    assert "strip" in facts["caption"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.txt", "", "must end in .toml, .yaml, .yml or .json"),
        ("p.toml", "a", "p.toml: Expected '=' after a key"),
        ("p.toml", "[prompts]\na = 'x'\na = 'y'", "p.toml: Cannot overwrite a value"),
        ("p.yaml", "a: [", "p.yaml: while parsing"),
        ("p.yaml", "prompts:\n  a: x\n  a: y", "p.yaml: a is there twice"),
        ("p.yaml", "", "must be a table"),
        ("p.json", "[1]", "must be a table"),
        ("p.json", '{"prompts": {"a": "x", "a": "y"}}', "p.json: a is there twice"),
        ("p.json", '{"prompts"', "p.json: Expecting"),
        ("p.json", "[" * 100_000, "p.json: "),
        ("p.toml", 'caption = "x"', "p.toml: needs prompts, a table of texts by their names"),
        ("p.toml", 'sytem = "x"\n[prompts]\na = "x"', "p.toml: sytem is no field that is known "),
        ("p.toml", 'sytem = "x"\n[prompts]\na = "x"', "did you mean system"),
        ("p.toml", 'choices = ["a", "b"]\n[prompts]\na = "x"', "p.toml: choices is no field"),
        ("p.toml", "temperature = 3\n[prompts]\na = 'x'", "p.toml: temperature must be between"),
        ("p.toml", "[prompts.a]\ntext = 'x'\ntop_p = 2", "p.toml: prompts.a.top_p must be above"),
        ("p.toml", "[prompts.a]\ntext = 3", "p.toml: prompts.a.text must be a text, got 3"),
        ("p.toml", "[prompts]\nerror = 'x'", "p.toml: prompts: error can't name a prompt"),
        (
            "p.yaml",
            "prompts:\n  a: {text: x, choices: [yes, no]}",
            "p.yaml: prompts.a.choices must be a list of texts (in quotes, where a word such as",
        ),
        ("p.yaml", "prompts:\n  no: x", "p.yaml: prompts: False can't name a prompt"),
        (
            "p.toml",
            "[prompts.a]\ntext = 'x'\nexamples = [{image = 'no.png', answer = 'b'}]",
            "no.png can't be read",
        ),
    ],
)
def test_what_is_refused(folder: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(RequestError) as error:
        read(folder / name, text)
    assert message in str(error.value)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="can't be read: No such file"):
        PromptSet.from_options(file=tmp_path / "p.toml")
    (tmp_path / "p.toml").write_bytes(b"\xff")
    with pytest.raises(RequestError, match=r"p\.toml: 'utf-8' codec can't decode"):
        PromptSet.from_options(file=tmp_path / "p.toml")
