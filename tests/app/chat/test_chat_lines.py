"""`octavo chat` without a terminal: the answers are those of the offline class, questions come a
line each or all at once, and the exit status says whether all could be done."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from octavo import LLM
from octavo.__main__ import main
from PIL import Image
from scripted_checkpoint import save_scripts

OPTIONS = ("--temperature=0", "--max-tokens=12", "--dtype=float32")


def ask(offline: LLM, messages: list[dict[str, Any]]) -> str:
    params = offline.default_sampling_params(temperature=0, max_tokens=12)
    return offline.chat(messages, params)[0].outputs[0].text


def said(question: Any, answer: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


@pytest.fixture
def picture(pictures: list[Image.Image], tmp_path: Path) -> Path:
    path = tmp_path / "a picture.png"
    pictures[0].save(path)
    return path


def test_lines_are_answered_with_what_was_said_before(
    offline: LLM,
    picture: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    parts = [{"type": "image", "image": picture}, {"type": "text", "text": "What is this?"}]
    first = ask(offline, [{"role": "user", "content": parts}])
    second = ask(offline, [*said(parts, first), {"role": "user", "content": "And now?"}])
    monkeypatch.setattr("sys.stdin", io.StringIO("What is this?\n\nAnd now?\n"))
    assert main(["chat", "--image", str(picture), *OPTIONS]) == 0
    assert capsys.readouterr().out == f"{first}\n{second}\n"


def test_a_long_talk_leaves_what_it_can_to_the_answer(
    offline: LLM, capsys: pytest.CaptureFixture[str]
) -> None:
    question = "word " * 700
    params = offline.default_sampling_params(temperature=0, max_tokens=None)
    whole = offline.chat([{"role": "user", "content": question}], params)[0]
    assert len(whole.prompt_token_ids) > 1024
    assert main(["chat", "--prompt", question, "--temperature=0", "--dtype=float32"]) == 0
    assert capsys.readouterr().out == f"{whole.outputs[0].text}\n"


def test_a_model_with_a_large_context_gets_the_memory_of_one_talk(
    checkpoints: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "long"
    shutil.copytree(checkpoints["llama"], folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 131072}))
    caplog.set_level("INFO")
    for options, planned in (
        ([], "512 blocks of 16 tokens, 8192 in all"),
        (["--max-model-len=16384"], "1024 blocks of 16 tokens, 16384 in all"),
    ):
        caplog.clear()
        assert main(["chat", str(folder), "--prompt=Hello", "--max-tokens=1", *options]) == 0
        assert planned in caplog.text


def test_commands_in_lines_and_what_they_change(
    offline: LLM,
    picture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    system = {"role": "system", "content": "Be brief."}
    parts = [{"type": "image", "image": picture}, {"type": "text", "text": "What is this?"}]
    answer = ask(offline, [system, {"role": "user", "content": parts}])
    short = offline.chat(
        [system, *said(parts, answer), {"role": "user", "content": "Hello"}],
        offline.default_sampling_params(temperature=0, max_tokens=2),
    )
    saved = tmp_path / "chat.json"
    lines = [
        "Hello",
        "/clear",
        "/system Be brief.",
        f"/image {picture}",
        "What is this?",
        f"/save {saved}",
        "/set max-tokens = 2",
        "Hello",
        "/quit",
        "not asked",
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    assert main(["chat", *OPTIONS]) == 0
    written = capsys.readouterr()
    assert written.out.splitlines()[1:] == [answer, short[0].outputs[0].text]
    assert "a picture.png, 40 × 60, goes with the next question" in written.err
    assert "(cut off: max_tokens" in written.err
    shown = {"type": "image_url", "image_url": {"url": picture.as_uri()}}
    messages = [system, *said([shown, parts[1]], answer)]
    assert json.loads(saved.read_text()) == {"messages": messages}


def test_what_can_not_be_done_is_said_and_in_the_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.png"
    text.write_text("no picture")
    wrong = {
        "/imge dog.png": "there is no command /imge; did you mean /image?",
        "/frobnicate": "there is no command /frobnicate; /help lists all",
        "/image": "/image needs a path",
        "/image nowhere.png": "nowhere.png can't be read: No such file or directory",
        f"/image {tmp_path}": f"{tmp_path} is no file",
        f"/image {text}": f"{text}: not an image in a known format",
        f"{text} what is this?": f"{text}: not an image in a known format",
        "/set temprature 0.2": "temprature is no sampling parameter; did you mean temperature?",
        "/set temperature hot": "temperature must be a number, got 'hot'",
        "/set temperature 3": "temperature must be between 0 and 2, got 3.0",
        "/set n 2": "n can't be set: a chat has one answer to each question",
        f"/save {text}": f"{text} exists already; choose another name",
        "/save": "/save needs the name of one file",
        f"/save {tmp_path}/no/where": "/no/where can't be written: No such file or directory",
        "/clear all": "/clear takes nothing after it, got 'all'",
        "word " * 3000: "the context of 2048 leaves no room for an answer",
    }
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(wrong)))
    assert main(["chat", *OPTIONS]) == 1
    written = capsys.readouterr()
    errors = [line for line in written.err.splitlines() if line.startswith("octavo: ")]
    assert written.out == ""
    for line, message in zip(errors, wrong.values(), strict=True):
        assert message in line
    assert text.read_text() == "no picture"


def test_one_question_and_what_can_not_begin(
    offline: LLM, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = ask(offline, [{"role": "user", "content": "Hello"}])
    both = ask(offline, [{"role": "user", "content": "Hello\n/quit"}])
    assert main(["chat", "--prompt", "Hello", *OPTIONS]) == 0
    assert capsys.readouterr().out == f"{answer}\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("Hello\n/quit\n"))
    assert main(["chat", "--prompt", "-", *OPTIONS]) == 0
    assert capsys.readouterr().out == f"{both}\n"
    for options, message in (
        (["--image", "nowhere.png"], "nowhere.png can't be read"),
        (["--temperature", "3"], "temperature must be between 0 and 2"),
        (["--api-key", "k"], "--api-key means nothing without --base-url"),
        (["--base-url", "localhost:8000"], "must begin with http:// or https://"),
        (["--base-url", "http://h", "--dtype", "float32"], "--dtype is of a model in this process"),
    ):
        assert main(["chat", "--prompt", "Hello", *options]) == 2
        assert message in capsys.readouterr().err


def test_thoughts_are_no_part_of_what_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, saved = tmp_path / "model", tmp_path / "talk.json"
    script = ["<think>", "Who is ", "this?", "</think>", "Good ", "day."]
    save_scripts(model, {"Hello": script}, [], "<think> </think>")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"Hello\n/save {saved}\n"))
    assert main(["chat", str(model)]) == 0
    written = capsys.readouterr()
    assert written.out == "Good day.\n"
    assert "Who is this?\n" in written.err
    assert json.loads(saved.read_text())["messages"] == said("Hello", "Good day.")
