"""`octavo bench accuracy --methods`: its numbers against transformers', formulas and tensors."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from octavo.__main__ import main
from octavo.app import DEMO_MODEL
from octavo.bench.methods.run import choose_methods
from octavo.bench.methods.score import score_text
from octavo.bench.methods.text import Windows, cut_windows, read_novel
from octavo.bench.methods.weights import bytes_read, num_weights
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from octavo.core.engine.execution.in_process_executor import InProcessExecutor
from octavo.core.models.model_choice import choose_model
from octavo.core.prompts.tokenizer import Tokenizer
from octavo.core.protocol.config import ConfigError, EngineConfig
from octavo.core.registry.registry import get_registry
from text_checkpoints import save_text_model
from tokenizers import Tokenizer as BackendTokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from torch.distributions import Categorical, kl_divergence
from transformers import AutoModelForCausalLM, GemmaConfig
from vision_checkpoints.gemma import save_paligemma


def load(folder: Path | str, **settings: Any) -> InProcessExecutor:
    options = {"dtype": "float32", **settings}
    config = EngineConfig(model=str(folder), kv_cache_memory=16 * 2**20, **options)
    return InProcessExecutor(config, find_checkpoint(config.model), get_registry())


@pytest.mark.parametrize("context", [1, 3])
def test_scores_are_those_of_transformers(tmp_path: Path, context: int) -> None:
    """Perplexity by the model's own loss, divergence by torch's own formula."""
    folders = [save_text_model(tmp_path / name, name) for name in ("llama", "llama-biased")]
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(10, 2000, (2, 300), generator=generator)
    models: list[Any] = [
        AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").float()
        for folder in folders
    ]
    labels = ids.clone()
    labels[:, :context] = -100
    with torch.inference_mode():
        outputs = [model(input_ids=ids, labels=labels) for model in models]
    logits = [output.logits[:, context - 1 : -1].double() for output in outputs]
    divergence = kl_divergence(*(Categorical(logits=part) for part in logits)).mean()
    same = (logits[0].argmax(-1) == logits[1].argmax(-1)).double().mean()

    executors = {name: load(folder) for name, folder in zip("ab", folders, strict=True)}
    base, other = score_text(executors, Windows(ids.tolist(), context)).values()
    assert base.num_positions == other.num_positions == 2 * (300 - context)
    for score, output in zip((base, other), outputs, strict=True):
        assert score.perplexity == pytest.approx(output.loss.exp().item(), rel=1e-4)
    assert base.kl_divergence == 0
    assert base.top1_agreement == 1
    assert other.kl_divergence == pytest.approx(divergence.item(), rel=1e-4)
    assert other.top1_agreement == pytest.approx(same.item(), abs=2 / other.num_positions)


class Fixed:
    """Gives logits that were computed before, in pieces."""

    def __init__(self, logits: Tensor) -> None:
        self._logits = logits

    def text_logits(self, token_ids: Any) -> Any:
        return iter(self._logits.split(3))


def test_tokens_that_no_model_gives_lose_nothing() -> None:
    never = float("-inf")
    base = torch.tensor([[0.0, 0.0, never], [0.0, 1.0, never]]).repeat(4, 1)
    windows = Windows([[0, 1] * 4], 1)
    scores = score_text({"base": Fixed(base), "same": Fixed(base + 5)}, windows)
    assert scores["same"].kl_divergence == pytest.approx(0, abs=1e-12)
    assert scores["same"].perplexity == pytest.approx(scores["base"].perplexity)
    # One that gives nothing to what the base expects is infinitely far.
    lost = score_text({"base": Fixed(base), "lost": Fixed(base.roll(1, 1))}, windows)
    assert lost["lost"].kl_divergence == float("inf")


def test_windows_are_whole_and_begin_as_sequences_do(tmp_path: Path) -> None:
    text = read_novel()
    assert len(text.split()) > 50_000  # a word is a token at least
    assert text.startswith("No one would have believed in the last years")
    assert "Gutenberg" not in text
    tokenizer = Tokenizer(find_checkpoint(DEMO_MODEL))
    ids = tokenizer.encode_text(text)
    plain = cut_windows(text, tokenizer, 100, 399)
    assert plain == Windows([ids[i : i + 100] for i in (0, 100, 200)], 1)
    everything = cut_windows(text, tokenizer, 1024, None)
    assert len(everything.token_ids) == len(ids) // 1024
    assert {len(window) for window in everything.token_ids} == {1024}
    for wrong in (99, len(ids) + 1):
        with pytest.raises(ConfigError, match=f"--tokens {wrong}: must be from 100, one window"):
            cut_windows(text, tokenizer, 100, wrong)

    save_text_model(tmp_path, "llama")
    backend = BackendTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    processor: Any = TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    backend.post_processor = processor
    backend.save(str(tmp_path / "tokenizer.json"))
    begun = cut_windows(text, Tokenizer(find_checkpoint(str(tmp_path))), 100, 200)
    assert begun == Windows([[1, *ids[:99]], [1, *ids[99:198]]], 1)
    assert begun.num_tokens == 200


@pytest.mark.parametrize("name", ["llama", "llama-llama3", "llava-clip"])
def test_weights_that_a_token_reads(
    tmp_path: Path, name: str, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama has a head of its own, llama-llama3's is the embeddings, and llava has a tower."""
    folder = checkpoints.get(name) or save_text_model(tmp_path, name)
    checkpoint, registry = find_checkpoint(str(folder)), get_registry()
    shapes = {key: tensor.shape for key, tensor in checkpoint.weights()}
    tied = not any(key.endswith("lm_head.weight") for key in shapes)
    read = [
        shape
        for key, shape in shapes.items()
        if ("vision" not in key and "projector" not in key)
        and (tied or not key.endswith("embed_tokens.weight"))
    ]
    count = sum(shape.numel() for shape in read)
    spec = choose_model(checkpoint.config, registry, "octavo")
    assert num_weights(spec, checkpoint, registry) == count
    # Where no kernel packs, tensors are as large as what they hold.
    monkeypatch.setenv("OCTAVO_KERNELS", "decoder=reference,linear=reference")
    assert bytes_read(load(folder, dtype="bfloat16").model) == 2 * count
    linear = [shape for shape in read if len(shape) == 2]
    small = sum(shape.numel() for shape in read if len(shape) == 1)
    expected = sum(out * (width + 4) for out, width in linear) + 2 * small
    assert bytes_read(load(folder, dtype="bfloat16", quantization="int8").model) == expected


def test_packed_weights_are_counted_as_they_are_packed() -> None:
    """What the kernels' layouts add is little for the demo model."""
    checkpoint, registry = find_checkpoint(DEMO_MODEL), get_registry()
    count = num_weights(registry.model_for_config(checkpoint.config), checkpoint, registry)
    bits = {
        method: 8
        * bytes_read(load(DEMO_MODEL, dtype="bfloat16", quantization=method).model)
        / count
        for method in (None, "int8", "int4")
    }
    assert 16 <= bits[None] < 16.5
    assert 8 <= bits["int8"] < 8.5
    # Four layers and the head take 8 bits.
    assert 4.5 <= bits["int4"] < 6.5


def test_methods_are_those_of_the_registry() -> None:
    registry = get_registry()
    every = choose_methods("all", registry)
    assert every[0] == "bfloat16"
    assert {"int8", "int4"} < set(every)
    assert not {"awq", "gptq"} & set(every)
    assert choose_methods("int4,bfloat16,int4", registry) == ["bfloat16", "int4"]
    with pytest.raises(ConfigError, match="'awq' reads quantised checkpoints only; there are all"):
        choose_methods("awq", registry)
    with pytest.raises(ConfigError, match="'int3' is unknown; there are all, bfloat16, "):
        choose_methods("int8,int3", registry)
    spec = replace(registry.quants["int8"], name="mine")
    more = replace(registry, quants={**registry.quants, "mine": spec})
    assert choose_methods("all", more) == [*every, "mine"]


def test_a_table_of_two_models(
    tmp_path: Path, checkpoints: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    file, folder = tmp_path / "result.json", checkpoints["llama"]
    options = ["--methods=int8,int4", "--tokens=1100", "--num-questions=3",
               "--kv-cache-memory=16MiB", f"--model={folder}", f"--output-json={file}",
               f"--plot={tmp_path}"]  # fmt: skip
    assert main(["bench", "accuracy", *options]) == 0
    result = json.loads(file.read_text())
    assert result["benchmark"] == "accuracy-methods"
    own, demo = result["models"]
    # The first takes 512 tokens at most: two windows, where the other has one.
    assert [(t["model"], t["window"], t["num_tokens"]) for t in (own, demo)] == [
        (str(folder), 512, 1024),
        ("demo model", 1024, 1024),
    ]
    for table in (own, demo):
        base, int8, int4 = table["rows"]
        assert [row["method"] for row in table["rows"]] == ["bfloat16", "int8", "int4"]
        assert (base["kl_divergence"], base["top1_agreement"]) == (0, 1)
        assert base["decode_ratios"] == [1.0] * 7
        assert 0 < int8["kl_divergence"] < int4["kl_divergence"]
        assert base["bytes_per_token"] > int8["bytes_per_token"] > int4["bytes_per_token"]
        for row in table["rows"]:
            bits = 8 * row["bytes_per_token"] / table["num_weights"]
            assert row["bits_per_weight"] == pytest.approx(bits)
            assert row["decode_ratio"] == statistics.median(row["decode_ratios"])
            assert row["decode_tokens_per_s"] > 0
    assert [row["word_accuracy"] for row in own["rows"]] == [None] * 3
    assert all(row["word_accuracy"] in (0, 1 / 3, 2 / 3, 1) for row in demo["rows"])
    assert (tmp_path / "accuracy-methods-divergence.png").stat().st_size > 0
    printed = capsys.readouterr().out
    assert "bits/weight" in printed
    assert f"{folder}: 1024 tokens in windows of 512" in printed


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tokens=2048"], "--tokens goes with --methods"),
        (["--methods=all", "--quantization=int8"], "--quantization and --methods exclude"),
        (["--methods=all", "--dtype=float32"], "--dtype can't be float32"),
        (["--methods=int8,float8"], "'float8' is unknown"),
    ],
)
def test_what_does_not_go_together(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "accuracy", *options]) == 2
    assert said in capsys.readouterr().err


def test_models_without_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said_of(folder: Path) -> str:
        assert main(["bench", "accuracy", "--methods=bfloat16", f"--model={folder}"]) == 2
        return capsys.readouterr().err

    assert "is deployed from transformers" in said_of(save_text_model(tmp_path / "a", "olmo2"))
    folder = save_text_model(tmp_path / "b", "llama")
    config = json.loads((folder / "config.json").read_text())
    stored = {"quantization_config": {"quant_method": "awq"}}
    (folder / "config.json").write_text(json.dumps({**config, **stored}))
    assert "is quantised with awq; --methods takes plain checkpoints" in said_of(folder)
    assert "so that it has no perplexity" in said_of(save_paligemma(tmp_path / "c", GemmaConfig))
