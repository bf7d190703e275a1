"""`--bits-budget`: what is kept of it in the files, and whether the right layers get the bits."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import pytest
import torch
from dequantised import dequantised
from octavo import LLM
from octavo.__main__ import main
from octavo.app.quantize.budget.sensitivity import expected_losses
from octavo.app.quantize.budget.upgrades import Option, choose_options
from octavo.app.quantize.samples import Samples, read_samples
from octavo.app.quantize.source_model import load_source
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from octavo.core.quantization.rounding.grid import Grid, round_to_nearest
from parity import GREEDY, Reference, check_equal, conversation
from safetensors.torch import load_file
from text_checkpoints import save_family
from torch import Tensor
from transformers import AutoModelForCausalLM

pytest.importorskip("compressed_tensors")

GRIDS = (Grid(4, 64, False), Grid(8))
SIZES = {"hidden_size": 128, "intermediate_size": 192, "head_dim": 32, "num_hidden_layers": 3}


@pytest.fixture(scope="module", params=["Llama", "Gemma3"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    # With larger weights answers hang on the smallest of changes, which no second order tells.
    sizes = {**SIZES, "initializer_range": 0.05}
    return save_family(tmp_path_factory.mktemp("model"), request.param, sizes)


def samples_of(model: Path) -> Samples:
    return read_samples(find_checkpoint(str(model)), None, 5, 64, takes_images=False)


def predictions(model: torch.nn.Module, samples: Samples) -> Tensor:
    with torch.no_grad():
        logits = [model(**sample).logits[0] for sample in samples.inputs]
    return torch.cat(logits).log_softmax(-1).double()


def test_what_is_expected_of_a_layer_comes_true(model: Path) -> None:
    """Against the KL divergence of the model in which that layer alone is rounded."""
    samples = samples_of(model)
    source = load_source(find_checkpoint(str(model)))
    names = [list(source.linears(index)) for index in range(len(source.blocks))]
    tried = [dict.fromkeys(block, GRIDS) for block in names]
    found = expected_losses(source, samples.inputs, tried)
    plain = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    wanted = predictions(plain, samples)
    expected, true = [], []
    for index, name, grid in itertools.product(range(len(names)), names[0], GRIDS):
        layer = plain.get_submodule(f"{source.blocks_name}.{index}.{name}")
        before = layer.weight.data
        layer.weight.data = round_to_nearest(before, grid, torch.float32).values()
        changed = predictions(plain, samples)
        layer.weight.data = before
        true.append(float((wanted.exp() * (wanted - changed)).sum(-1).mean()))
        expected.append(found[index].of[name][grid])
    four = torch.tensor(expected[::2]) / torch.tensor(true[::2])
    # What 8 bits change is near to what float32 does.
    assert four.min() > 0.6
    assert four.max() < 1.8
    ranks = torch.stack([torch.tensor(each).argsort().argsort() for each in (expected, true)])
    assert torch.corrcoef(ranks.float())[0, 1] > 0.98


def test_the_choice_is_nearly_the_best() -> None:
    """Of all that there are, but for what one change saves."""
    draw = random.Random(0)
    for _ in range(50):
        things = [[Option(draw.randint(1, 20), draw.random()) for _ in range(3)] for _ in range(6)]
        least = sum(min(option.cost for option in each) for each in things)
        most = least + draw.randint(0, 60)
        chosen = [each[i] for each, i in zip(things, choose_options(things, most), strict=True)]
        assert sum(option.cost for option in chosen) <= most
        best = min(
            sum(option.loss for option in each)
            for each in itertools.product(*things)
            if sum(option.cost for option in each) <= most
        )
        assert sum(option.loss for option in chosen) < best + 1


def stored_bits(output: Path) -> float:
    """A weight, of all tensors of decoder blocks' linear layers."""
    tensors = load_file(output / "model.safetensors")
    shapes = [t.tolist() for name, t in tensors.items() if name.endswith("weight_shape")]
    own = [t for name, t in tensors.items() if "_proj." in name]
    return 8 * sum(t.nbytes for t in own) / sum(rows * columns for rows, columns in shapes)


@pytest.mark.parametrize("method", ["int4", "rtn", "gptq --symmetric"])
def test_the_files_keep_to_the_budget(
    method: str,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OCTAVO_KERNELS", "decoder=reference,linear=reference")
    output = tmp_path / "out"
    command = f"quantize {model} -o {output} --method {method} --bits-budget 6.2"
    assert main([*command.split(), "--num-samples", "3", "--sample-len", "64"]) == 0
    bits = stored_bits(output)
    assert 6.0 < bits <= 6.2
    assert f"\n{bits:.3f} bits a weight" in capsys.readouterr().out
    groups = json.loads((output / "config.json").read_text())["quantization_config"]
    assert len(groups["config_groups"]) > 1
    stored = load_file(output / "model.safetensors")
    for names in (("q", "k", "v"), ("gate", "up")):
        first, *others = (
            [
                t.shape[1]
                for n, t in sorted(stored.items())
                if n.endswith(f"{name}_proj.weight_packed")
            ]
            for name in names
        )
        assert all(other == first for other in others), "layers that engines run as one differ"
    prompt = conversation("What is this?", [])
    llm = LLM(output, dtype="float32", kv_cache_memory=2**24)
    plain = dequantised(model, output, tmp_path / "plain")
    check_equal(llm.chat(prompt, GREEDY)[0], Reference(plain).answer(prompt))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--bits-budget 4.2", "can have 4.57 to 8.24 bits a weight"),
        ("--bits-budget 8.5", "can have 4.57 to 8.24 bits a weight"),
        ("--bits-budget 5 --method int8", "--bits-budget does not go with --method int8"),
        ("--bits-budget 5 --method gptq --bits 4", "--bits does not go with --bits-budget"),
        ("--bits-budget 5 --method rtn --float8", "--float8 does not go with --bits-budget"),
    ],
)
def test_budgets_that_are_refused(
    words: str, message: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["quantize", str(model), "-o", str(tmp_path / "out"), *words.split()]
    assert main(command) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.partial").exists()
