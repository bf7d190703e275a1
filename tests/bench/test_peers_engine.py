"""Engines in processes of their own: Octavo on the demo model, and one that misbehaves."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import octavo
import pytest
from octavo.app import DEMO_MODEL
from octavo.bench import peers
from octavo.bench.peers.contenders import Contender, Pythons, contenders
from octavo.bench.peers.engine_process import EngineFailedError, EngineProcess
from octavo.bench.peers.process_tree import resident_bytes
from octavo.bench.peers.results import MachineLimits
from octavo.bench.peers.run import run_groups, run_together
from octavo.bench.peers.workloads import Call, Workload

PEERS = Path(peers.__file__).parent
OPTIONS = {
    "model": DEMO_MODEL,
    "dtype": "float32",
    "quantization": None,
    "max_model_len": 256,
    "max_num_seqs": 4,
}
COMMAND = [sys.executable, "-m", "octavo.bench.peers.engines.octavo_engine"]
#: An engine that a peer's Python could run: it sees the folder of engines, not Octavo.
ODD_ENGINE = """
import subprocess, time
from pathlib import Path
from engines.loop import Answer, run_engine

class Odd:
    version = "7"
    def __init__(self, options):
        print("chatter of a library")
        self.name, self.notes = options["name"], Path(options["notes"])
        if self.name == "broken":
            raise RuntimeError("no such model")
    def complete(self, prompts, max_tokens):
        print("more chatter")
        with self.notes.open("a") as notes:
            print(self.name, len(prompts), max_tokens, file=notes)
        if max_tokens == 13:
            child = subprocess.Popen(["sleep", "60"])
            self.notes.write_text(str(child.pid))
            time.sleep(60)
        return [Answer(len(prompt), min(max_tokens, 5)) for prompt in prompts]

run_engine(Odd)
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    log = tmp_path_factory.mktemp("logs") / "octavo.log"
    with EngineProcess([*COMMAND, json.dumps(OPTIONS)], os.environ, log, patience=100) as process:
        yield process


def make_odd(tmp_path: Path, name: str) -> Contender:
    (tmp_path / "odd.py").write_text(ODD_ENGINE)
    options = {"name": name, "notes": str(tmp_path / "notes")}
    path = {"PYTHONPATH": f"{PEERS}:{tmp_path}"}
    return Contender(name, "none", "odd", sys.executable, options, path)


def start_odd(tmp_path: Path, patience: float = 30, name: str = "odd") -> EngineProcess:
    odd = make_odd(tmp_path, name)
    return EngineProcess(odd.command, {**os.environ, **odd.env}, tmp_path / "odd.log", patience)


def test_octavo_says_what_it_is(engine: EngineProcess) -> None:
    assert engine.version == octavo.__version__
    assert 0 < engine.load_s < engine.ready_s
    assert engine.peak_bytes > 100 * 2**20


def test_octavo_completes(engine: EngineProcess) -> None:
    answer = engine.ask(Call(12, prompts=([101, 102, 103], [104] * 40)))
    assert answer["seconds"] > 0
    assert answer["prompt_tokens"] == 3
    assert answer["foreign_cores"] >= 0


def test_octavo_looks_at_images(engine: EngineProcess) -> None:
    pictures = Path(octavo.__file__).parent / "examples" / "images"
    images = (str(pictures / "car.png"), str(pictures / "dog.png"))
    told = engine.ask(Call(4, images=images))
    # More than the question alone, by the image's tokens.
    assert told["prompt_tokens"] > 16


def test_an_error_is_told_and_survived(engine: EngineProcess) -> None:
    with pytest.raises(EngineFailedError, match=r"RequestError: .*256"):
        engine.ask(Call(4, prompts=([101] * 300,)))
    assert engine.ask(Call(1, prompts=([101],)))["prompt_tokens"] == 1


def test_chatter_does_not_disturb(tmp_path: Path) -> None:
    with start_odd(tmp_path) as process:
        assert process.version == "7"
        assert process.ask(Call(5, prompts=([1, 2],)))["prompt_tokens"] == 2
    assert "more chatter" in (tmp_path / "odd.log").read_text()


def test_too_few_tokens_are_an_error(tmp_path: Path) -> None:
    due = r"1 answers of 6 tokens were due, it gave \[5\]"
    with start_odd(tmp_path) as process, pytest.raises(EngineFailedError, match=due):
        process.ask(Call(6, prompts=([1],)))


def test_one_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(EngineFailedError, match=r"it ended; .*no such model"):
        start_odd(tmp_path, name="broken")


def test_one_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    with start_odd(tmp_path, patience=3) as process:
        with pytest.raises(EngineFailedError, match="it took over 3 s"):
            process.ask(Call(13, prompts=([1],)))
        with pytest.raises(EngineFailedError, match=r"it has ended|it ended"):
            process.ask(Call(1, prompts=([1],)))
    child = int((tmp_path / "notes").read_text())
    until = time.monotonic() + 10
    while resident_bytes([child]) and time.monotonic() < until:
        time.sleep(0.05)
    assert resident_bytes([child]) == 0


def test_engines_run_in_turns(tmp_path: Path) -> None:
    """Warmed up one after the other, then measured so that each begins once; failures are kept."""
    names = ("one", "broken", "two")
    works = [
        Workload("several", "text", 9, 5, lengths=(4, 4), prefix=16, repeats=2),
        Workload("long", "text", 1, 6, lengths=(20, 20)),
    ]
    one, broken, two = run_together([make_odd(tmp_path, name) for name in names], works, tmp_path)
    assert (tmp_path / "notes").read_text().splitlines() == [
        *("one 4 5", "two 4 5"),
        *("two 9 5", "one 9 5"),
        *("one 9 5", "two 9 5"),
        *("one 1 1", "one 1 6", "two 1 1", "two 1 6"),
    ]
    assert broken.error is not None
    assert "no such model" in broken.error
    for result in (one, two):
        assert result.error is None
        assert result.peak_bytes > 2**20
        several = result.works["several"]
        assert (several.prompt_tokens, several.error) == (20, None)
        for repeat in several.repeats:
            assert repeat["out_tok_s"] == pytest.approx(45 / repeat["wall_s"])
        assert result.works["long"].repeats == []
        assert "1 answers of 6 tokens were due" in str(result.works["long"].error)


def test_who_contends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "openvino" / "llava-1.5-int8").mkdir(parents=True)
    venv = tmp_path / "venv" / "bin" / "python"
    given = Pythons(tmp_path, str(venv), "ov/python", "tf/python", "llama-server", "float32")
    plain = list(contenders(given, "llava-1.5", "bf16", "<image>?"))
    assert [c.name for c in plain] == ["Octavo", "vLLM", "transformers"]
    assert [c.options["dtype"] for c in plain] == ["auto", "float32", "float32"]
    assert "there is no" in caplog.text
    assert "libiomp5.so" in caplog.text
    small = list(contenders(given, "llava-1.5", "int8", "<image>?"))
    assert [(c.name, c.precision) for c in small] == [("Octavo", "int8"), ("OpenVINO", "int8 IR")]
    assert small[0].options["quantization"] == "int8"
    assert small[1].command[0] == "ov/python"


def test_nothing_runs_where_no_peer_does(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    given = Pythons(tmp_path, openvino="ov/python")
    limits = MachineLimits(1.0, 1.0, 1.0)
    assert list(run_groups(given, ["t1"], ["int8"], limits, tmp_path)) == []
    assert "no peer takes smollm2-135m in int8" in caplog.text
