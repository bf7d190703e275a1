"""`octavo bench accuracy --beside`: quantised checkpoints in the table of their model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from octavo.__main__ import main
from octavo.bench.methods import speed
from octavo.bench.methods.text import cut_windows, read_novel
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from octavo.core.prompts.tokenizer import Tokenizer
from text_checkpoints import save_family, save_text_model
from transformers import AutoModelForCausalLM

CHEAP = ("--tokens=1024", "--num-questions=1", "--kv-cache-memory=16MiB")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_text_model(tmp_path_factory.mktemp("model"), "llama")


@pytest.fixture(scope="module")
def quantised(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("made") / "four-bits"
    words = ["quantize", str(model), "-o", str(output), "--method=rtn", "--group-size=32"]
    assert main([*words, "--symmetric"]) == 0
    return output


def bench(*words: str) -> int:
    return main(["bench", "accuracy", "--methods=bfloat16", *CHEAP, *words])


def test_a_row_of_the_same_run(
    model: Path, quantised: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its perplexity is what transformers has for the same checkpoint."""
    monkeypatch.setenv("OCTAVO_KERNELS", "decoder=reference,linear=reference")
    file = tmp_path / "result.json"
    words = (f"--model={model}", f"--beside={quantised}", f"--output-json={file}")
    assert bench(*words) == 0
    own, demo = json.loads(file.read_text())["models"]
    assert [row["method"] for row in own["rows"]] == ["bfloat16", "four-bits"]
    assert [row["method"] for row in demo["rows"]] == ["bfloat16"]
    base, row = own["rows"]
    assert row["bits_per_weight"] < base["bits_per_weight"]
    assert row["kl_divergence"] > 0
    windows = cut_windows(read_novel(), Tokenizer(find_checkpoint(str(model))), 512, 1024)
    reference: Any = AutoModelForCausalLM.from_pretrained(quantised, dtype=torch.float32)
    ids = torch.tensor(windows.token_ids)
    labels = ids.clone()
    labels[:, : windows.context] = -100
    with torch.inference_mode():
        loss = reference(input_ids=ids, labels=labels).loss
    assert row["perplexity"] == pytest.approx(loss.exp().item(), rel=0.01)


def test_others_are_refused(
    model: Path, quantised: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said_of(folder: Path) -> str:
        assert bench(f"--model={model}", f"--beside={folder}") == 2
        return capsys.readouterr().err

    assert "is not quantised" in said_of(model)
    other = tmp_path / "other"
    shutil.copytree(quantised, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.5}))
    assert "its config differs in rms_norm_eps" in said_of(other)
    (other / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    tokenizer["normalizer"] = {"type": "Lowercase"}
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert "has another tokenizer" in said_of(other)
    twice = (f"--model={model}", f"--beside={quantised}", f"--beside={quantised}")
    assert bench(*twice) == 2
    assert "there is a row with the name four-bits already" in capsys.readouterr().err
    assert main(["bench", "accuracy", f"--beside={quantised}"]) == 2
    assert "--beside goes with --methods" in capsys.readouterr().err


def test_speeds(quantised: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_family(tmp_path, "Llama", {"max_position_embeddings": 1024})
    config = json.loads((quantised / "config.json").read_text())
    made = shutil.copytree(quantised, tmp_path / "four-bits")
    longer = json.dumps({**config, "max_position_embeddings": 1024})
    (made / "config.json").write_text(longer)
    assert speed.main([str(model), "--methods=int8", f"--beside={made}"]) == 0
    _, head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["method", "tokens/s"]
    cells = {name: [float(cell) for cell in rest] for name, *rest in map(str.split, rows)}
    assert list(cells) == ["bfloat16", "int8", "four-bits"]
    assert all(len(row) == 4 and min(row) > 0 for row in cells.values())
    assert cells["bfloat16"][1::2] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["MODEL", "--methods=int7"], "'int7' is unknown"),
        (["MODEL", "--beside=MODEL"], "is not quantised"),
        (["QUANTISED"], "is quantised with compressed-tensors: name it --beside"),
        (["MODEL"], "max_model_len 513 is beyond the model's own limit of 512"),
    ],
)
def test_speeds_that_can_not_be_compared(
    words: list[str],
    message: str,
    model: Path,
    quantised: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = {"MODEL": str(model), "QUANTISED": str(quantised)}
    for name, folder in folders.items():
        words = [word.replace(name, folder) for word in words]
    assert speed.main(words) == 2
    assert message in capsys.readouterr().err
