"""What `octavo quantize` writes: transformers with the compressed-tensors library, and Octavo, give
what the plain model gives with the weights that the numbers stand for."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from dequantised import dequantised
from gguf_files import write_gguf
from octavo import LLM
from octavo.__main__ import main
from octavo.app import DEMO_MODEL
from octavo.app.quantize.recipe import make_recipe
from octavo.app.quantize.run import Job, quantize
from octavo.core.protocol.config import ConfigError
from parity import GREEDY, Reference, check_equal, conversation
from PIL import Image
from safetensors.torch import load_file, save_file
from text_checkpoints import save_family
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    CompressedTensorsConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
)
from transformers.models.llama import modeling_llama
from transformers.models.llama.modeling_llama import LlamaMLP
from vision_checkpoints import VISION_MODELS

pytest.importorskip("compressed_tensors")

METHODS = ("rtn", "awq", "gptq", "int4", "int8", "fp8", "rtn --float8")
FEW = {"num_samples": 4, "sample_len": 48}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = {"hidden_size": 128, "intermediate_size": 192, "head_dim": 32}
    return save_family(tmp_path_factory.mktemp("llama"), "Llama", sizes)


def run(model: Path, output: Path, method: str) -> dict[str, Tensor]:
    """The tensors that are written."""
    name, *float8 = method.split()
    size = 32 if method in ("rtn", "awq", "gptq") else None
    recipe = make_recipe(name, group_size=size, float8=bool(float8))
    few = FEW if recipe.calibrates else {}
    quantize(Job(str(model), output, recipe, **few), lambda line: None)
    return load_file(output / "model.safetensors")


@pytest.mark.parametrize("method", METHODS)
def test_others_load_what_is_written(
    method: str, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The fast kernels round activations, too.
    monkeypatch.setenv("OCTAVO_KERNELS", "decoder=reference,linear=reference")
    is_float = method in ("fp8", "rtn --float8")
    stored = run(llama, tmp_path / "out", method)
    assert not [name for name in stored if name.endswith("_proj.weight")] or is_float
    plain = dequantised(llama, tmp_path / "out", tmp_path / "plain")
    ids = torch.randint(3, 2000, (1, 40), generator=torch.Generator().manual_seed(0))
    wanted = AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float32)
    # Without this, versions that we know make no room for zeros as they are packed.
    unpacked = CompressedTensorsConfig(dequantize=True)
    with pytest.warns(UserWarning, match="loading attributes .*will be overwritten"):
        found = AutoModelForCausalLM.from_pretrained(
            tmp_path / "out", dtype=torch.float32, quantization_config=unpacked
        )
    with torch.no_grad():
        torch.testing.assert_close(found(ids).logits, wanted(ids).logits, atol=1e-4, rtol=1e-4)
    llm = LLM(tmp_path / "out", dtype="float32", kv_cache_memory=2**24)
    prompt = conversation("What is this?", [])
    check_equal(llm.chat(prompt, GREEDY)[0], Reference(plain).answer(prompt))


@pytest.mark.parametrize("name", ["qwen2-vl", "llava-siglip-qwen2", "gemma3"])
def test_models_of_images(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OCTAVO_KERNELS", "decoder=reference,linear=reference")
    torch.manual_seed(0)
    save, num_batched = VISION_MODELS[name]
    plain = save(tmp_path / "source")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    picture = Image.effect_noise((48, 32), 80).convert("RGB")
    picture.save(pictures / "noise.png")
    (pictures / "words.txt").write_text("A line of words about nothing at all. " * 20)
    command = f"quantize {plain} -o {tmp_path / 'out'} --num-samples 3"
    command += " --method gptq --group-size 32 --symmetric"
    assert main([*command.split(), "--calibration", str(pictures), "--sample-len", "32"]) == 0
    assert "3 samples" in (printed := capsys.readouterr().out)
    assert "1 with a picture" in printed
    stored = load_file(tmp_path / "out" / "model.safetensors")
    quantised = [name for name in stored if name.endswith("weight_packed")]
    assert quantised
    assert not [name for name in quantised if "vis" in name]
    same = dequantised(plain, tmp_path / "out", tmp_path / "plain")
    prompt = conversation("What is this?", [picture])
    wanted = Reference(same).answer(prompt)
    with LLM(
        tmp_path / "out", dtype="float32", kv_cache_memory=2**24, max_num_batched_tokens=num_batched
    ) as llm:
        check_equal(llm.chat(prompt, GREEDY)[0], wanted)
    loaded = Reference(tmp_path / "out").answer(prompt)
    torch.testing.assert_close(loaded[2], wanted[2], atol=1e-3, rtol=1e-3)


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    sizes = {"hidden_size": 128, "intermediate_size": 192, "num_hidden_layers": 6}
    model = save_family(tmp_path / "model", "Llama", sizes)
    output = tmp_path / "out"
    arguments = ["--num-samples", "16", "--sample-len", "64", "--bits-budget", "6"]
    command = [
        sys.executable,
        "-m",
        "octavo",
        "quantize",
        str(model),
        *arguments,
        "-o",
        str(output),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    finished = tmp_path / "out.partial" / "block-0001.safetensors"
    while not finished.exists() and process.poll() is None:
        time.sleep(0.01)
    recipe = make_recipe("int4", bits_budget=6)
    job = Job(str(model), output, recipe, num_samples=16, sample_len=64)
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(ConfigError, match=r"another run is at work in .*out\.partial"):
        quantize(job, lambda line: None)
    process.kill()
    assert process.wait() < 0
    assert not output.exists()
    with pytest.raises(ConfigError, match=r"partial holds a run with another method and another"):
        run(model, output, "rtn")
    quantize(job, lambda line: None)
    assert not finished.parent.exists()
    whole = Job(str(model), tmp_path / "whole", job.recipe, num_samples=16, sample_len=64)
    quantize(whole, lambda line: None)
    names = sorted(path.name for path in output.iterdir())
    assert names == sorted(path.name for path in whole.output.iterdir())
    for name in names:
        assert (output / name).read_bytes() == (whole.output / name).read_bytes(), name


def test_one_blocks_weights_are_in_memory(tmp_path: Path) -> None:
    """In float32, of a checkpoint in bfloat16, whose own are mapped from its file."""
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4}
    model = save_family(tmp_path / "model", "Llama", sizes)
    tensors = load_file(model / "model.safetensors")
    halves = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    save_file(halves, model / "model.safetensors", {"format": "pt"})
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    seen: dict[int, torch.nn.Linear] = {}
    most = 0

    def count(module: torch.nn.Module, args: Any) -> None:
        nonlocal most
        if isinstance(module, torch.nn.Linear):
            seen[id(module)] = module
            most = max(most, sum(layer.weight.dtype == torch.float32 for layer in seen.values()))

    handle = register_module_forward_pre_hook(count)
    try:
        run(model, tmp_path / "out", "int4")
    finally:
        handle.remove()
    # And the head.
    assert len(seen) == 4 * 7 + 1
    assert most == 7


def test_layers_of_other_shapes_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inputs that are not whole groups of 64 get 8 bits; and many files are written."""
    monkeypatch.setenv("OCTAVO_KERNELS", "decoder=reference,linear=reference")
    model = save_family(tmp_path / "model", "Llama", {"hidden_size": 128, "intermediate_size": 96})
    job = Job(str(model), tmp_path / "out", make_recipe("gptq", symmetric=True), **FEW)
    report = quantize(replace(job, shard_bytes=1 << 20), lambda line: None)
    shown = {row[0]: row[2] for row in report.rows()[1:]}
    assert shown["mlp.down_proj"] == "8 bits, a scale for each output, symmetric"
    assert shown["mlp.up_proj"] == "4 bits, groups of 64, symmetric"
    assert len(list((tmp_path / "out").glob("model-*-of-*.safetensors"))) > 1
    prompt = conversation("What is this?", [])
    llm = LLM(tmp_path / "out", dtype="float32", kv_cache_memory=2**24)
    check_equal(llm.chat(prompt, GREEDY)[0], Reference(tmp_path / "out").answer(prompt))


class OtherLinear(nn.Linear):
    """Computes otherwise than its base."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 2


def test_layers_of_a_derived_class_stay_plain(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And are named: in the report, and among those that are ignored."""

    class OtherMLP(LlamaMLP):
        def __init__(self, config: LlamaConfig) -> None:
            super().__init__(config)
            self.up_proj = OtherLinear(config.hidden_size, config.intermediate_size, bias=False)

    monkeypatch.setattr(modeling_llama, "LlamaMLP", OtherMLP)
    job = Job(str(llama), tmp_path / "out", make_recipe("int4"), **FEW)
    report = quantize(job, lambda line: None)
    assert {row[0] for row in report.rows() if row[2] == "plain"} == {"mlp.up_proj"}
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    ignored = [word[3:] for word in config["quantization_config"]["ignore"]]
    assert any(re.match(pattern, "model.layers.0.mlp.up_proj") for pattern in ignored)
    assert not any(re.match(pattern, "model.layers.0.mlp.down_proj") for pattern in ignored)
    stored, plain = (load_file(f / "model.safetensors") for f in (tmp_path / "out", llama))
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(stored[name], plain[name])


def save_gpt2(folder: Path) -> None:
    """Its layers are of another class than nn.Linear."""
    config = GPT2Config(vocab_size=2048, n_embd=64, n_layer=2, n_head=4)
    GPT2LMHeadModel(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(DEMO_MODEL).save_pretrained(folder)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("MODEL -o OUT --method int4 --bits 8", "--bits does not go with --method int4"),
        ("MODEL -o OUT --method rtn --act-order", "--act-order does not go with --method rtn"),
        ("MODEL -o OUT --method gptq --no-tuning", "--no-tuning does not go with --method gptq"),
        ("MODEL -o OUT --method gptq --bits 3", "--bits 3: must be 4 or 8"),
        ("MODEL -o OUT --method gptq --group-size 48", "--group-size 48: must be"),
        ("MODEL -o OUT --method gptq --damping 0", "--damping 0.0: must be"),
        ("MODEL -o OUT --calibration nowhere", "--calibration nowhere: there is no such file"),
        ("MODEL -o OUT --calibration EMPTY", "no text of 16 tokens and no picture"),
        ("MODEL -o OUT --calibration PICTURE", "takes no pictures"),
        ("MODEL -o OUT --calibration BAD.jsonl", "line 2: has neither a"),
        ("MODEL -o OUT --method rtn --calibration EMPTY", "looks at no data"),
        ("MODEL -o OUT --method awq --float8", "--float8 does not go with --method awq"),
        ("MODEL -o OUT --method awq --bits-budget 5", "does not go with --method awq"),
        ("MODEL -o OUT --method int8 --float8", "--float8 does not go with --method int8"),
        ("MODEL -o OUT --method gptq --float8 --bits 8", "--bits does not go with --float8"),
        ("MODEL -o OUT --method rtn --num-samples 3", "--num-samples: this method looks at no"),
        ("MODEL -o OUT --sample-len 513", "--sample-len 513: MODEL takes 512 tokens"),
        ("MODEL -o MODEL", "exists already; remove it"),
        ("GGUF.gguf -o OUT", "is a GGUF file"),
        ("QUANTISED -o OUT", "is quantised with compressed-tensors already"),
        ("GPT2 -o OUT", "most weights of its block 0 are not in linear layers"),
        ("MIXTURE -o OUT", "mixtures of experts"),
    ],
)
def test_wrong_inputs(
    words: str, message: str, llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    makers: dict[str, Callable[[Path], Any]] = {
        "EMPTY": Path.mkdir,
        "PICTURE": lambda path: Image.new("RGB", (8, 8)).save(path.with_suffix(".png")),
        "BAD.jsonl": lambda path: path.write_text('{"text": "one"}\n{"txt": "two"}\n'),
        "GGUF.gguf": lambda path: write_gguf(path, llama),
        "QUANTISED": lambda path: run(llama, path, "rtn"),
        "GPT2": lambda path: save_gpt2(path),
        "MIXTURE": lambda path: save_family(path, "Qwen3Moe", {"moe_intermediate_size": 32}),
    }
    places = {"MODEL": llama, "OUT": tmp_path / "out"}
    for word, make in makers.items():
        if word in words:
            make(tmp_path / word)
            places[word] = tmp_path / word
    places["PICTURE"] = tmp_path / "PICTURE.png"
    command = ["quantize", *(str(places.get(word, word)) for word in words.split())]
    assert main(command) == 2
    assert message.replace("MODEL", str(llama)) in capsys.readouterr().err
    assert not (tmp_path / "out.partial").exists()
