"""Tuning of scales: its gradients, what it mends, and that nothing is lost by it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from octavo.__main__ import main
from octavo.app.quantize.finished_blocks import FinishedBlocks
from octavo.app.quantize.layer_grids import first_grids, grid_costs
from octavo.app.quantize.recipe import make_recipe
from octavo.app.quantize.samples import Sample, read_samples
from octavo.app.quantize.source_model import load_source
from octavo.app.quantize.stored_names import find_stored_names
from octavo.app.quantize.tuning import tune
from octavo.app.quantize.work_folder import WorkFolder
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from octavo.core.quantization.rounding.grid import Rounded, round_to_nearest
from octavo.core.quantization.rounding.packed import stored_tensors
from text_checkpoints import save_family
from torch import Tensor
from transformers import AutoModelForCausalLM

SIZES = {"hidden_size": 128, "intermediate_size": 192, "head_dim": 32, "num_hidden_layers": 3}
#: What scales are wrong by, so that there is something to mend.
TOO_LARGE = 1.4


@pytest.fixture(scope="module", params=["Llama", "Gemma3"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = {**SIZES, "initializer_range": 0.05}
    return save_family(tmp_path_factory.mktemp("model"), request.param, sizes)


@pytest.fixture(autouse=True)
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what is compared here is the same on all processors."""
    monkeypatch.setattr(tune, "has_bf16", lambda: False)


def samples_of(model: Path, count: int) -> list[Sample]:
    return read_samples(find_checkpoint(str(model)), None, count, 64, takes_images=False).inputs


def finished(model: Path, output: Path) -> tuple[FinishedBlocks, WorkFolder]:
    """All blocks, rounded to 8 bits, with scales that are wrong, which is most of what is lost."""
    checkpoint = find_checkpoint(str(model))
    source = load_source(checkpoint)
    grids = first_grids(grid_costs(source, make_recipe("rtn", bits=8, group_size=64)))
    blocks = FinishedBlocks(source, find_stored_names(source, checkpoint), grids)
    folder = WorkFolder(output)
    folder.path.mkdir()
    for index, own in enumerate(grids):
        tensors = {}
        for name, layer in source.linears(index).items():
            grid = own[name]
            assert grid is not None
            rounded = round_to_nearest(layer.weight.data, grid, torch.float32)
            wrong = Rounded(rounded.steps, rounded.scales * TOO_LARGE, rounded.zeros)
            stored = stored_tensors(wrong, grid)
            tensors |= {blocks.prefix(index, name) + k: t for k, t in stored.items()}
        folder.put(index, tensors, [])
    return blocks, folder


def divergence(model: Path, samples: list[Sample], weights: dict[str, Tensor]) -> Tensor:
    """From the plain model, by transformers, with other weights by their modules' names."""
    plain = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    total, count = torch.zeros(()), 0
    for sample in samples:
        ids = {"input_ids": sample["input_ids"]}
        with torch.no_grad():
            wanted = plain(**ids).logits[0].log_softmax(-1)
        found = torch.func.functional_call(plain, weights, (), ids).logits[0].log_softmax(-1)
        total = total + (wanted.exp() * (wanted - found)).sum()
        count += len(wanted)
    return total / count


def test_gradients_are_those_of_the_divergence(model: Path, tmp_path: Path) -> None:
    """As autograd has them through transformers' whole model."""
    blocks, folder = finished(model, tmp_path / "out")
    samples = samples_of(model, 2)
    (output, _) = tune.plain_outputs(blocks.source, samples)
    scales = tune._Scales(blocks, folder)
    scales.set_gradients(tune._Target(samples[0], output))
    weights, factors = {}, []
    for index, own in enumerate(scales.factors):
        for name, weight in blocks.rounded(index, folder.get(index)[0]).items():
            factor = torch.zeros(weight.scales.shape, requires_grad=True)
            wide = factor.exp().repeat_interleave(len(weight.steps[0]) // factor.shape[1], 1)
            weights[f"{blocks.source.blocks_name}.{index}.{name}.weight"] = weight.values() * wide
            factors.append((factor, own[name].grad))
    divergence(model, samples[:1], weights).backward()
    assert len(factors) == 3 * 7
    for factor, gradient in factors:
        assert factor.grad is not None
        assert gradient is not None
        torch.testing.assert_close(gradient, factor.grad, rtol=1e-3, atol=1e-7)


def test_scales_that_are_wrong_are_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a family without norms that make good for them; as transformers finds it."""
    monkeypatch.setattr(tune, "_RATE", 0.02)
    model = save_family(tmp_path / "model", "Llama", {**SIZES, "initializer_range": 0.05})
    blocks, folder = finished(model, tmp_path / "out")
    samples = samples_of(model, 40)
    result = tune.tune_scales(blocks, samples, folder)
    assert all(name.endswith("weight_scale") for name in result.scales)
    measured = []
    for changed in ({}, result.scales):
        weights = {
            f"{blocks.source.blocks_name}.{index}.{name}.weight": weight.values()
            for index in range(3)
            for name, weight in blocks.rounded(index, {**folder.get(index)[0], **changed}).items()
        }
        with torch.no_grad():
            measured.append(float(divergence(model, samples[8::16], weights)))
    assert [result.before, result.after] == pytest.approx(measured, rel=1e-3)
    assert result.after < 0.6 * result.before


class KilledError(Exception):
    """As a run may be at any moment."""


def test_tuning_goes_on_where_it_stopped(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = samples_of(model, 16)
    blocks, folder = finished(model, tmp_path / "whole")
    whole = tune.tune_scales(blocks, samples, folder)
    blocks, folder = finished(model, tmp_path / "killed")
    step, steps = tune._Scales.set_gradients, 0

    def some_steps(self: Any, target: Any) -> None:
        nonlocal steps
        if steps == 10:
            raise KilledError
        steps += 1
        step(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(tune._Scales, "set_gradients", some_steps)
        with pytest.raises(KilledError):
            tune.tune_scales(blocks, samples, folder)
    result = tune.tune_scales(blocks, samples, folder)
    assert result.after == whole.after
    assert all(torch.equal(result.scales[name], whole.scales[name]) for name in whole.scales)
    folder.put_tuned(result)
    kept = folder.get_tuned()
    assert kept is not None
    assert (kept.before, kept.after) == (result.before, result.after)
    assert kept.scales.keys() == result.scales.keys()


def test_scales_that_are_no_better_are_not_taken(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Steps that are too large.
    monkeypatch.setattr(tune, "_RATE", 0.1)
    few = ["--num-samples", "16", "--sample-len", "64"]
    for name, options in (("tuned", []), ("plain", ["--no-tuning"])):
        assert main(["quantize", str(model), "-o", str(tmp_path / name), *few, *options]) == 0
        found = re.search(
            r"KL on held-out samples ([\d.]+) before, ([\d.]+)",
            (printed := capsys.readouterr().out),
        )
        assert (found is not None) == (name == "tuned")
        if found:
            assert float(found[2]) > float(found[1])
            assert "left as they were" in printed
    tuned, plain = ((tmp_path / n / "model.safetensors").read_bytes() for n in ("tuned", "plain"))
    assert tuned == plain
