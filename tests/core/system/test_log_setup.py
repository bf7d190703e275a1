"""What processes write to their logs: one format, whoever writes."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from octavo.core.system.log_context import about_requests
from octavo.core.system.log_format import TEXT, JsonFormatter, LineFormatter

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d [A-Z]+ \S+: ")


def record(message: str, *arguments: Any, exc_info: Any = None) -> logging.LogRecord:
    return logging.LogRecord("a.b", logging.INFO, "f", 1, message, arguments, exc_info)


def test_a_line_has_time_level_logger_and_request() -> None:
    formatter = LineFormatter(TEXT)
    assert LINE.match(formatter.format(record("%d done", 3)))
    with about_requests("req-1"):
        assert " INFO a.b [req-1]: 3 done" in formatter.format(record("%d done", 3))
    with about_requests("req-1", "", "req-2"):
        assert " INFO a.b [req-1 req-2]: " in formatter.format(record("x"))
    assert LINE.match(formatter.format(record("x")))


def test_an_object_has_the_same_and_the_traceback() -> None:
    hostile = "\u2028\x1b[31m\ud800\n"
    try:
        raise ValueError(hostile)
    except ValueError:
        made = record("of %s", hostile, exc_info=sys.exc_info())
    with about_requests("req-1"):
        line = JsonFormatter().format(made)
    assert line.isascii()
    assert line.isprintable()
    found = json.loads(line)
    assert datetime.fromisoformat(found.pop("time")).astimezone(UTC) == datetime.fromtimestamp(
        int(made.created * 1000) / 1000, UTC
    )
    assert found.pop("exception").startswith("Traceback (most recent call last)")
    assert found == {
        "level": "INFO",
        "logger": "a.b",
        "process": os.getpid(),
        "message": f"of {hostile}",
        "request_id": "req-1",
    }
    with about_requests("req-1", "req-2"):
        assert json.loads(JsonFormatter().format(made))["request_ids"] == ["req-1", "req-2"]


TALK = """
import logging, sys, warnings
from octavo.core.system.log_setup import LogSetup, as_argument, set_up_logging, set_up_logging_as
set_up_logging(LogSetup(*sys.argv[1:]))
set_up_logging_as(as_argument())  # as a child does
import huggingface_hub, torch, transformers
for name in "octavo.a a_plugin transformers.models torch.hub huggingface_hub httpx".split():
    logging.getLogger(name).info("told by %s", name)
    logging.getLogger(name).warning("warned by %s", name)
transformers.utils.logging.get_logger("transformers.x").warning("warned by transformers")
warnings.warn("warned by Python")
"""


@pytest.mark.parametrize(
    ("arguments", "told", "warned"),
    [
        (("info", "json"), 2, 8),
        (("info", "json", "error"), 2, 2),
        (("error", "text", "error"), 0, 0),
    ],
)
def test_libraries_log_as_we_do(arguments: tuple[str, ...], told: int, warned: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", TALK, *arguments], capture_output=True, text=True, check=True
    )
    lines = ended.stderr.splitlines()
    if "json" in arguments:
        messages = [json.loads(line)["message"] for line in lines]
    else:
        lines = [line for line in lines if not line.startswith("  ")]  # a warning's source
        messages = [LINE.sub("", line) for line in lines]
        assert all(map(LINE.match, lines))
    assert [m for m in messages if "told by" in m] == ["told by octavo.a", "told by a_plugin"][
        :told
    ]
    assert sum("warned by" in m for m in messages) == warned
    assert not ended.stdout


UNCAUGHT = """
import threading
from octavo.core.system.log_setup import LogSetup, set_up_logging
def fail(): raise ValueError("nobody catches this")
set_up_logging(LogSetup(format="json"))
thread = threading.Thread(target=fail, name="a thread")
thread.start()
thread.join()
fail()
"""


def test_what_nobody_catches_is_logged_too() -> None:
    ended = subprocess.run([sys.executable, "-c", UNCAUGHT], capture_output=True, text=True)
    assert ended.returncode == 1
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [line["message"] for line in lines] == ["the thread a thread ends", "the process ends"]
    assert all("nobody catches this" in line["exception"] for line in lines)
