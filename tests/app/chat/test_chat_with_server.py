"""`octavo chat --base-url` in a pipe: answers are the server's, what goes wrong costs one line, and
the exit status says so."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from octavo.__main__ import main
from slow_chat_server import SlowServer, cut_stream, event, refusal, slow_server, stream

PICTURE = Path(__file__).parents[3] / "examples" / "images" / "dog.png"
#: The largest numbers of tokens that the slow server has answers of their own for.
CUT, FULL, STRANGE, FAILING, THINKING = 2, 3, 4, 5, 6


@pytest.fixture(scope="module")
def slow() -> Iterator[SlowServer]:
    with slow_server(0) as server:
        server.raw[CUT] = cut_stream()
        server.raw[FULL] = refusal("503 Service Unavailable")
        server.raw[STRANGE] = stream(b"data: no chunk\n\n")
        server.raw[FAILING] = stream(event({"error": {"message": "it broke"}}))
        parts = (
            {"reasoning_content": "Well, "},
            {"reasoning_content": "well."},
            {"content": "Yes."},
        )
        server.raw[THINKING] = stream(b"".join(event(choice(delta)) for delta in parts))
        yield server


def choice(delta: dict[str, str]) -> dict[str, Any]:
    """A chunk; its content ends the answer."""
    reason = "stop" if "content" in delta else None
    return {"choices": [{"delta": delta, "finish_reason": reason}]}


def run(base_url: str, *arguments: str) -> int:
    return main(["chat", "--base-url", base_url, *arguments])


def test_a_question_with_a_picture(demo_server: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--image", str(PICTURE), "--prompt", "What is this?", "--temperature=0"]
    assert run(f"{demo_server}/v1/", *options) == 0
    assert "dog" in capsys.readouterr().out


def test_it_streams_in_a_pipe_until_ctrl_c(demo_server: str) -> None:
    command = [sys.executable, "-m", "octavo", "chat", "--base-url", f"{demo_server}/v1"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("/imge\n/set ignore_eos true\n/set min_tokens 1500\nHello\n")
        process.stdin.flush()
        begin = process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert begin
    assert "(cut off" not in errors  # as it would have been in the end
    assert "there is no command /imge" in errors
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("max_tokens", "shown", "message"),
    [
        (7, "0 1 2 3 \n", ""),
        (CUT, "and\n", "broke off; what came may be a part of the answer"),
        (FULL, "", "not ready (503): no room; ask again in a while"),
        (STRANGE, "", "the server sent what is no chunk of an answer"),
        (FAILING, "", "it broke"),
        (THINKING, "Yes.\n", "Well, well."),
    ],
)
def test_what_a_server_may_answer(
    slow: SlowServer,
    max_tokens: int,
    shown: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = [f"--max-tokens={max_tokens}", "--system=Be brief.", "--prompt=Hello"]
    failed = message and max_tokens != THINKING
    assert run(slow.base_url, *options) == (2 if failed else 0)
    written = capsys.readouterr()
    assert written.out == shown
    assert message in written.err
    assert written.err.count("\n") == bool(message)
    told = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    body = {"model": "slow", "messages": told, "stream": True, "max_tokens": max_tokens}
    assert slow.seen[-1].body == body


def test_what_can_not_be_reached_is_said_in_one_line(
    demo_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        assert run(nobody, "--prompt=Hello") == 2
    written = [capsys.readouterr().err]
    for base, *options in (
        (demo_server,),
        (f"{demo_server}/v1", "octavo-dem"),
        (f"{demo_server}/v1", "--image=nowhere.png"),
    ):
        assert run(base, *options, "--prompt=Hello") == 2
        written.append(capsys.readouterr().err)
    for message, expected in zip(
        written,
        (
            f"{nobody} can't be reached ([Errno 111] Connection refused); does a server run there?",
            "most servers' addresses end in /v1",
            "serves no model octavo-dem; did you mean octavo-demo?",
            "nowhere.png can't be read: No such file or directory",
        ),
        strict=True,
    ):
        assert expected in message
        assert message.startswith("octavo: ")
        assert message.count("\n") == 1
