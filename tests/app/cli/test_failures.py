"""What goes wrong in a command costs one line that names the part, and the right exit status."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from octavo.__main__ import main
from octavo.app import DEMO_MODEL
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
        ("bench latency --output-json photos", 2, "--output-json: photos is a folder"),
        ("bench latency --output-json photos/a.png/x", 2, "photos/a.png is no folder"),
        ("bench latency --plot photos/a.png/x", 2, "photos/a.png is no folder"),
        ("caption photos -o folder.jpg", 2, "folder.jpg is a folder: name a file in it"),
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


#: Runs the command as root without its right to read anything.
UNPRIVILEGED = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
UNPRIVILEGED += ["--inh-caps=-dac_override,-dac_read_search"]


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root reads all")
def test_what_nobody_may_read_or_write(tmp_path: Path) -> None:
    """A folder of pictures, weights, a folder for the output: each is named."""
    model = shutil.copytree(DEMO_MODEL, tmp_path / "model")
    (tmp_path / "photos" / "locked").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "a.png")
    (tmp_path / "out").mkdir()
    for path, mode in (
        (model / "model.safetensors", 0),
        (tmp_path / "photos" / "locked", 0),
        (tmp_path / "out", 0o555),
    ):
        path.chmod(mode)
    command = [*(UNPRIVILEGED if os.geteuid() == 0 else []), *COMMAND]
    for line, message in (
        ("caption photos/a.png -o out/c.jsonl", "out/c.jsonl can't be written: change the perm"),
        ("serve --port=0 model", "model: model/model.safetensors can't be read: permission denied"),
    ):
        ended = subprocess.run(
            [*command, *line.split()], cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert ended.returncode == 2, ended.stderr
        assert ended.stderr.splitlines()[-1].startswith(f"octavo: {message}")
    (tmp_path / "photos" / "locked").chmod(0o755)  # so that it can be removed


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
        ("octavo.app.offline.llm", f"caption {DEMO_MODEL}/../doctor/dog.png"),
        ("octavo.app.offline.offline_engine", "verify"),
        ("octavo.app.cli.deploying", f"deploy {DEMO_MODEL}"),
        ("octavo.app.conformance.check", "plugins check"),
        ("octavo.bench.latency", "bench latency"),
        ("octavo.app.doctor.self_test", "doctor"),
        ("shtab", "completion bash"),
    ],
)
def test_ctrl_c(module: str, line: str) -> None:
    command = [sys.executable, "-c", INTERRUPTING, module, *line.split()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    # A shell says 130 of both; Python itself ends by the signal if an exec() was interrupted.
    assert ended.returncode in (INTERRUPTED, -signal.SIGINT)
    assert ended.stderr == "octavo: interrupted\n"


def test_ctrl_c_while_pictures_are_captioned(tmp_path: Path) -> None:
    """What runs is captioned, and what is captioned stays, in whole lines."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "0.png")
    for i in range(1, 5_000):
        os.link(folder / "0.png", folder / f"{i}.png")
    output = tmp_path / "captions.jsonl"
    command = [*COMMAND, "caption", str(folder), "-o", str(output)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and num_lines(output) < 2:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=300)
    assert process.returncode == INTERRUPTED, said
    assert "octavo: finishing what runs; again to stop at once. To go on: octavo caption" in said
    assert "Traceback" not in said
    _, *lines = output.read_text().splitlines(keepends=True)
    assert 0 < len(lines) < 5_000
    assert all(json.loads(line)["caption"] and line.endswith("\n") for line in lines)


def num_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


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


def test_a_trace_that_can_not_be_written_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        trace = StepTrace("/dev/full")
        trace._write([{"name": "a step"}])
    (record,) = caplog.records
    assert "the trace ends here: /dev/full can't be written" in record.getMessage()
