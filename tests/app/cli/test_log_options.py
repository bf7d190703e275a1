"""What is logged, from arguments, the environment and a file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from octavo.__main__ import build_command_line, main
from octavo.app.cli.log_options import log_setup
from octavo.core.system.log_setup import LogSetup


def setup(*arguments: str) -> LogSetup:
    return log_setup(build_command_line().parse_args(arguments))


def test_arguments_the_environment_and_a_file_give_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert setup("serve") == LogSetup("info", "text", "warning")
    file = tmp_path / "octavo.toml"
    file.write_text('log_level = "error"\nlog_format = "json"\naccess_log = "all"')
    assert setup("serve", "--config", str(file)) == LogSetup("error", "json", "warning")
    monkeypatch.setenv("OCTAVO_LOG_LEVEL", "warning")
    monkeypatch.setenv("OCTAVO_ACCESS_LOG", "none")
    options = build_command_line().parse_args(["serve", "--config", str(file)])
    assert (options.log_level, options.log_format, options.access_log) == (
        "warning",
        "json",
        "none",
    )
    assert setup("serve", "--log-level=debug").level == "debug"


@pytest.mark.parametrize(
    "command",
    ["chat", "caption x -o y", "verify", "deploy m", "bench latency", "kernels", "plugins list"],
)
def test_what_prints_something_to_read_leaves_out_libraries_warnings(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCTAVO_ACCESS_LOG", "all")  # of a server
    assert setup(*command.split()).library_level == "error"


def test_they_are_there_for_who_asks_for_all() -> None:
    assert setup("verify", "--log-level=debug") == LogSetup("debug", "text", "warning")


def test_what_is_wrong_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "octavo.toml"
    file.write_text('access_log = "all"')
    assert main(["chat", "--config", str(file)]) == 2
    assert "access_log is a setting of octavo serve" in capsys.readouterr().err
    monkeypatch.setenv("OCTAVO_LOG_FORMAT", "xml")
    assert main(["chat"]) == 2
    assert "OCTAVO_LOG_FORMAT must be one of text, json, got 'xml'" in capsys.readouterr().err
    monkeypatch.setenv("OCTAVO_LOG_FORMATS", "json")
    monkeypatch.delenv("OCTAVO_LOG_FORMAT")
    assert main(["chat"]) == 2
    assert "did you mean OCTAVO_LOG_FORMAT?" in capsys.readouterr().err


def test_what_ends_a_command_is_a_line_of_the_log() -> None:
    command = [sys.executable, "-m", "octavo", "serve", "/none", "--port=0", "--log-format=json"]
    ended = subprocess.run([*command, "--debug"], capture_output=True, text=True)
    assert ended.returncode == 2
    *_, last = map(json.loads, ended.stderr.splitlines())
    assert last["level"] == "CRITICAL"
    assert last["message"].startswith("model '/none' is neither a folder nor a GGUF file")
    assert "ConfigError" in last["exception"]
