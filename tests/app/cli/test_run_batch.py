"""`octavo run-batch`: killed, gone on with, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from octavo.__main__ import main
from serving import wait_until

NUM_LINES = 120


def line(custom_id: str, **body: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"Hello {custom_id}"}]
    body = {"messages": messages, "max_tokens": 4, **body}
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
    }


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(fields)}\n" for fields in lines))
    return path


def command(source: Path, output: Path) -> list[str]:
    words = [sys.executable, "-m", "octavo", "run-batch", str(source), "-o", str(output)]
    return [*words, "--dtype=float32", "--kv-cache-memory=64MiB", "--max-num-seqs=2"]


def test_a_run_that_was_killed_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line(str(i), temperature=-1 if i == 7 else 0) for i in range(NUM_LINES)]
    source, output = write(tmp_path / "in.jsonl", lines), tmp_path / "out.jsonl"
    journal = tmp_path / "out.jsonl.journal"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command(source, output), env=environment) as process:
        # By then about a third has been answered.
        wait_until(lambda: journal.exists() and journal.stat().st_size > 40_000, 120)
        process.kill()
    assert not output.exists()
    ended = subprocess.run(
        command(source, output), env=environment, stdout=subprocess.PIPE, check=False, text=True
    )
    assert ended.returncode == 1, "one failed"
    told = f"{output}: {NUM_LINES - 1} answered, 1 failed, "
    assert ended.stdout.startswith(told)
    assert int(ended.stdout.removeprefix(told).split()[0]) > 0, "in the earlier run"
    rows = [json.loads(row) for row in output.read_text().splitlines()]
    assert [row["custom_id"] for row in rows] == [fields["custom_id"] for fields in lines]
    assert [row["custom_id"] for row in rows if row["response"]["status_code"] != 200] == ["7"]
    # Once more: there is nothing to do, and no model is loaded.
    assert main(["run-batch", str(source), "-o", str(output)]) == 1
    assert f"{NUM_LINES} of them in earlier runs" in capsys.readouterr().out
    other = write(tmp_path / "other.jsonl", lines[:3])
    assert main(["run-batch", str(other), "-o", str(output)]) == 2
    assert "is of another input" in capsys.readouterr().err
    words = ["run-batch", str(source), "-o", str(output), "--served-model-name=other"]
    assert main(words) == 2
    assert "is of another model, 'octavo-demo'" in capsys.readouterr().err


def test_what_can_not_be_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refusal(source: Path, output: Path) -> str:
        assert main(["run-batch", str(source), "-o", str(output)]) == 2
        return capsys.readouterr().err

    bad = write(tmp_path / "bad.jsonl", [line("a"), line("a"), line("b", stream=True)])
    told = refusal(bad, tmp_path / "out.jsonl")
    assert "line 2: custom_id is that of line 1, too; line 3: body.stream can only be" in told
    good = write(tmp_path / "good.jsonl", [line("a")])
    assert "no run is known to have written it" in refusal(good, bad)
    assert "can't be input and output in one" in refusal(good, good)
    assert "name one that is there" in refusal(tmp_path / "none.jsonl", tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl.journal").exists()
