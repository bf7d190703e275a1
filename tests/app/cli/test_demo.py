"""What `octavo demo` and `octavo serve --ui` refuse, and what they need."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import octavo
import pytest
from octavo.__main__ import main

#: Of the extra, and what it brings along.
OF_THE_PAGE = {"gradio", "pandas", "fastapi"}
WITHOUT_GRADIO = """
import sys
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == "gradio" else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
from octavo.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@contextmanager
def answering(status: str, body: str = "{}") -> Iterator[str]:
    """The address of a server that answers once."""
    head = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(2**16)
                connection.sendall((head + body).encode())

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


def refusal(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(line.split()) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--api-key x", "--api-key means nothing without --base-url"),
        ("a-model --base-url http://x", "MODEL is of a server"),
        ("--base-url http://x --max-num-seqs 2", "--max-num-seqs is of a server"),
        ("--base-url http://x --served-model-name y", "--served-model-name is of a server"),
        ("--base-url localhost:8000", "must begin with http:// or https://"),
        ("--base-url http://x:port", "is no address"),
    ],
)
def test_what_makes_no_sense_together(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refusal(f"demo {line}", capsys)


def test_a_file_without_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "octavo.toml").write_text("ui = false")
    assert "ui = false is for octavo serve" in refusal(
        f"demo --config {tmp_path}/octavo.toml", capsys
    )


def test_a_server_elsewhere_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    assert f"--base-url: {url}/v1 can't be reached" in refusal(f"demo --base-url {url}", capsys)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("401 Unauthorized", "give the right key by --api-key or OPENAI_API_KEY"),
        ("404 Not Found", "refused (404)"),
        ("200 OK", "gives no list of models"),
    ],
)
def test_a_server_elsewhere_that_refuses(
    status: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(status) as url:
        assert message in refusal(f"demo --base-url {url}", capsys)


@pytest.mark.parametrize("words", [["serve", "--ui"], ["demo"]], ids=" ".join)
def test_without_gradio(words: list[str]) -> None:
    command = [sys.executable, "-c", WITHOUT_GRADIO, *words]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "pip install 'octavo[demo]'" in ended.stderr


def test_octavo_without_extras_brings_none_of_it() -> None:
    project = tomllib.loads((Path(octavo.__file__).parent / "pyproject.toml").read_text())
    names = {word.split(">")[0].split("[")[0] for word in project["project"]["dependencies"]}
    assert not names & OF_THE_PAGE
    modules = (
        "app.http.serve",
        "app.http.page_server",
        "app.cli.serving",
        "app.page.server.other_server",
    )
    imported = ", ".join(f"octavo.{module}" for module in modules)
    script = f"import sys, {imported}; sys.exit(repr({OF_THE_PAGE} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.stderr.strip() == "set()"
