"""What goes wrong in a command costs one line that names the part, and the right exit status."""

from __future__ import annotations

import errno
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from octavo.__main__ import main
from octavo.app import DEMO_MODEL
from octavo.app.cli.captioning import _open_output, _write_line
from octavo.app.cli.failures import FAILED, INTERRUPTED, USERS_FAULT, guarded
from octavo.core.engine.scheduling.step_trace import StepTrace
from octavo.core.protocol.config import ConfigError
from PIL import Image

COMMAND = [sys.executable, "-m", "octavo"]


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what can't be read, where commands run."""
    folder = tmp_path_factory.mktemp("faulty")
    for name in ("truncated", "not-utf-8"):
        shutil.copytree(DEMO_MODEL, folder / name)
    os.truncate(folder / "truncated" / "model.safetensors", 100_000)
    (folder / "not-utf-8" / "config.json").write_bytes(b"\xff\xfe{}")
    (folder / "folder.jpg").mkdir()
    (folder / "folder.toml").mkdir()
    (folder / "not-utf-8.toml").write_bytes(b"\xff")
    (folder / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "photos" / "a.png")
    return folder


@pytest.mark.parametrize(
    ("line", "status", "message"),
    [
        ("chat truncated", 2, "truncated/model.safetensors is truncated"),
        ("verify truncated", 2, "truncated/model.safetensors is truncated"),
        ("caption photos -o c.jsonl --model truncated", 2, "model.safetensors is truncated"),
        ("bench latency --model truncated", 2, "model.safetensors is truncated"),
        ("deploy not-utf-8 --dry-run", 2, "not-utf-8"),
        ("chat not-utf-8", 2, "not-utf-8"),
        ("verify /nowhere", 2, "'/nowhere' is neither a folder nor a GGUF file"),
        ("deploy folder.jpg", 2, "folder.jpg has no config.json and no GGUF file"),
        ("chat --device cud", 2, "device must be auto, cpu, cuda, cuda:1, …, got 'cud'"),
        ("kernels --device cud", 2, "device must be auto"),
        ("deploy truncated --device cud", 2, "device must be auto"),
        ("serve --config folder.toml", 2, "folder.toml can't be read: Is a directory"),
        ("serve --config not-utf-8.toml", 2, "not-utf-8.toml: 'utf-8' codec can't decode"),
        ("chat --trace folder.jpg", 2, "--trace: folder.jpg can't be written: Is a directory"),
        ("plugins check nope", 2, "no plugin or package 'nope' is installed"),
        ("bench serve --base-url http://127.0.0.1:9", 2, "no server answers at http://127.0.0.1:9"),
        ("bench compare nowhere", 2, "compare needs BASE and NEW"),
        ("caption photos -o folder.jpg", 2, "folder.jpg can't be written"),
        ("caption photos -o /dev/full", 1, "/dev/full: No space left on device; free some space"),
    ],
)
def test_a_line_and_a_status(
    line: str,
    status: int,
    message: str,
    faulty: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(faulty)
    assert main(line.split()) == status
    err = capsys.readouterr().err
    assert "Traceback" not in err
    (told,) = [said for said in err.splitlines() if said.startswith("octavo: ")]
    assert message in told


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("command", ["chat --prompt x", "kernels", "verify", "bench latency"])
def test_a_missing_gpu(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--device", "cuda"]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("octavo: device 'cuda' can't be used: torch ")
    assert told.endswith("take cpu, or auto")


@pytest.mark.parametrize("words", [["--debug", "kernels"], ["kernels", "--debug"]])
def test_debug_shows_where(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--device", "cud"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "in choose_device" in err
    assert err.splitlines()[-1].startswith("octavo: device must be")


def fails(error: BaseException) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ConfigError("a\nb"), USERS_FAULT, "octavo: a b"),
        (ValueError("odd"), FAILED, "octavo: ValueError: odd (with --debug it shows where"),
        (PermissionError(errno.EACCES, "Denied", "f"), USERS_FAULT, "octavo: f: Denied; change"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "f"), USERS_FAULT, "name a file"),
        (OSError(errno.ENOSPC, "No space", "f"), FAILED, "octavo: f: No space; free some space"),
        (OSError(errno.EACCES, "Denied"), FAILED, "octavo: Denied (with --debug"),
        (MemoryError("4 GiB"), FAILED, "octavo: out of memory: 4 GiB; take a smaller model"),
        (KeyboardInterrupt(), INTERRUPTED, "octavo: interrupted"),
        # As a library's lazy import does it.
        (caused(RuntimeError("x"), KeyboardInterrupt()), INTERRUPTED, "octavo: interrupted"),
    ],
)
def test_any_error(
    error: BaseException, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    try:
        assert guarded(fails(error), shows_traceback=False) == status
        shown = capsys.readouterr().err
        guarded(fails(error), shows_traceback=True)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert message in shown
    assert shown.count("\n") == 1
    assert "Traceback" in capsys.readouterr().err


#: Sends itself Ctrl-C when a module is looked for, and runs the command.
INTERRUPTING = """
import os, signal, sys
from octavo.__main__ import main
module = sys.argv.pop(1)
class Sender:
    def find_spec(self, name, *arguments):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Sender())
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("torch", "kernels"),
        ("octavo.app.offline.llm", "caption photos -o c.jsonl"),
        ("octavo.app.offline.offline_engine", "verify"),
        ("octavo.app.cli.deploying", f"deploy {DEMO_MODEL}"),
        ("octavo.app.conformance.check", "plugins check"),
        ("octavo.bench.latency", "bench latency"),
    ],
)
def test_ctrl_c(module: str, line: str) -> None:
    command = [sys.executable, "-c", INTERRUPTING, module, *line.split()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    # A shell says 130 of both; Python itself ends by the signal if an exec() was interrupted.
    assert ended.returncode in (INTERRUPTED, -signal.SIGINT)
    assert ended.stderr == "octavo: interrupted\n"


def test_a_reader_that_has_enough() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run([*COMMAND, "plugins", "list"], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (FAILED, b"")


def test_output_that_can_not_be_written() -> None:
    with open("/dev/full", "wb") as full:
        ended = subprocess.run([*COMMAND, "plugins", "list"], stdout=full, stderr=subprocess.PIPE)
    assert ended.returncode == FAILED
    assert ended.stderr.count(b"\n") == 1
    assert b"No space left on device" in ended.stderr


def test_a_disk_that_fills_up_keeps_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    file = _open_output(path)
    _write_line(file, b"one\n", path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6, limits[1]))
    try:
        with pytest.raises(OSError, match=r"captions\.jsonl"):
            _write_line(file, b"two\n", path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        file.close()
    assert path.read_bytes() == b"one\n"


def test_a_trace_that_can_not_be_written_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        trace = StepTrace("/dev/full")
        trace._write([{"name": "a step"}])
    (record,) = caplog.records
    assert "the trace ends here: /dev/full can't be written" in record.getMessage()
