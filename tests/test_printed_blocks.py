"""The commands and the code that pages print do what the pages say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import octavo
import pytest

ROOT = Path(octavo.__file__).parent
README = (ROOT / "README.md").read_text()
#: The address of the server that the two commands start.
PRINTED_ADDRESS = "http://127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_the_curl_with_a_picture_gets_the_answer_that_is_printed(demo_server: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    (command,) = [block for block in blocks("sh") if "curl" in block]
    (printed,) = blocks("json")
    assert PRINTED_ADDRESS in command
    command = command.replace(PRINTED_ADDRESS, demo_server)
    done = subprocess.run(
        ["bash", "-euc", command], capture_output=True, text=True, check=True, cwd=ROOT
    )
    answer, expected = json.loads(done.stdout), json.loads(printed)
    for name in ("id", "created"):
        assert type(answer.pop(name)) is type(expected.pop(name))
    # Tokens are cached where another test has shown the picture to this server.
    for said in (answer, expected):
        del said["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert answer == expected


def test_the_python_runs_as_it_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = blocks("python")
    (printed,) = blocks("json")
    monkeypatch.chdir(ROOT)
    exec(compile(code, "README.md", "exec"), {})
    said = json.loads(printed)["choices"][0]["message"]["content"]
    # Offline an answer has fewer tokens unless more are asked for; both begin alike.
    assert said.startswith(capsys.readouterr().out.strip()[:12])


def test_the_two_commands_are_there() -> None:
    (two,) = [block for block in blocks("sh") if "./scripts/serve" in block]
    for line in two.splitlines():
        script = ROOT / line.split()[0]
        assert script.stat().st_mode & 0o111, script
