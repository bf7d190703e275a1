"""`octavo chat`: the answers are those of the offline class, and what was said is remembered."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from octavo import LLM
from octavo.__main__ import main
from PIL import Image


def test_lines_are_answered_with_what_was_said_before(
    offline: LLM,
    pictures: list[Image.Image],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    picture = tmp_path / "picture.png"
    pictures[0].save(picture)
    params = offline.default_sampling_params(temperature=0, max_tokens=12)
    parts = [{"type": "image", "image": picture}, {"type": "text", "text": "What is this?"}]
    messages: list[dict[str, object]] = [{"role": "user", "content": parts}]
    first = offline.chat(messages, params)[0].outputs[0].text
    messages += [{"role": "assistant", "content": first}, {"role": "user", "content": "And now?"}]
    second = offline.chat(messages, params)[0].outputs[0].text

    monkeypatch.setattr("sys.stdin", io.StringIO("What is this?\nAnd now?\n"))
    options = ["--temperature", "0", "--max-tokens", "12", "--dtype", "float32"]
    assert main(["chat", "--image", str(picture), *options]) == 0
    assert capsys.readouterr().out == f"> {first}\n> {second}\n> "


def test_one_question_and_a_picture_that_is_not_there(
    offline: LLM, capsys: pytest.CaptureFixture[str]
) -> None:
    params = offline.default_sampling_params(temperature=0, max_tokens=5)
    answer = offline.chat([{"role": "user", "content": "Hello"}], params)[0].outputs[0].text
    options = ["--temperature", "0", "--max-tokens", "5", "--dtype", "float32"]
    assert main(["chat", "--prompt", "Hello", *options]) == 0
    assert capsys.readouterr().out == f"{answer}\n"
    assert main(["chat", "--prompt", "Hello", "--image", "nowhere.png", *options]) == 2
    assert "nowhere.png can't be read" in capsys.readouterr().err
