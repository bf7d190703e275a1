"""`octavo deploy` tells what each pass did, and what it would do without weights."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from octavo import LLM, SamplingParams
from octavo.__main__ import main
from octavo.core.layers.prepared_linear import PreparedLinearLayer
from octavo.core.protocol.config import ConfigError
from text_checkpoints import save_text_model


@pytest.fixture(scope="module")
def olmo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_text_model(tmp_path_factory.mktemp("olmo2"), "olmo2")


def test_each_pass_says_what_it_did(olmo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fused = "fuse: 2 × q_proj+k_proj+v_proj, 2 × gate_proj+up_proj"
    assert main(["deploy", str(olmo)]) == 0
    did = capsys.readouterr().out
    assert fused in did
    assert "check, short texts: 8 of 8 greedy tokens are the same" in did
    assert "the checkpoint's" in did
    assert main(["deploy", str(olmo), "--skip", "fuse", "--dtype", "bfloat16"]) == 0
    skipped = capsys.readouterr().out
    assert "fuse" not in skipped
    assert "pack: 14 layers, for cpu" in skipped


def test_a_dry_run_needs_no_weights(
    olmo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text((olmo / "config.json").read_text())
    assert main(["deploy", str(tmp_path), "--dry-run"]) == 0
    would = capsys.readouterr().out
    assert "would do\nload: Olmo2ForCausalLM" in would
    assert "attention: 2 layers by the cpu kernel, 2 heads of width 16" in would
    assert "what 64 of the longest requests could fill" in would
    assert main(["deploy", str(tmp_path)]) == 2
    assert "transformers can't load it" in capsys.readouterr().err


def test_what_can_not_be_done_is_named(olmo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", str(olmo), "--skip", "load"]) == 2
    assert "those that can be: fuse, quantize, pack" in capsys.readouterr().err
    assert main(["deploy", str(olmo), "--quantization", "int3"]) == 2
    assert (
        "'int3'; installed: awq, bitsandbytes, compressed-tensors, fp8, gguf, gptq, int4, int8"
        in capsys.readouterr().err
    )


def test_rules_choose_a_method_for_each_layer(
    olmo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    skip = ("--skip", "fuse")
    assert main(["deploy", str(olmo), "--quantization", "layers.0.*=none,*=int8", *skip]) == 0
    did = capsys.readouterr().out
    assert "quantize: 7 layers; 7 are left as they are" in did
    assert re.search(r"^layers\.\*\.mlp\.up_proj +float32 +1 ", did, re.MULTILINE)
    assert re.search(r"^layers\.\*\.mlp\.up_proj +int8 +1 ", did, re.MULTILINE)
    assert main(["deploy", str(olmo), "--quantization", "head=int8,*=int4", *skip]) == 2
    assert "head matches none of the model's layers, such as layers.0." in capsys.readouterr().err


def test_quantised_and_packed_models_run(olmo: Path) -> None:
    params = SamplingParams(temperature=0, max_tokens=1, ignore_eos=True, logprobs=0)
    plain, small = (
        LLM(olmo, dtype="float32", quantization=method).generate("Hello there", params)[0]
        for method in (None, "int8")
    )
    assert plain.outputs[0].cumulative_logprob == pytest.approx(
        small.outputs[0].cumulative_logprob, abs=0.5
    )
    sizes = {}
    for method in (None, "int8", "int4"):
        llm = LLM(olmo, dtype="float32", quantization=method)
        kinds = [type(module) for module in llm._core._executor._runner._model.modules()]
        assert kinds.count(PreparedLinearLayer) == 8, "2 × (qkv, o, gate and up, down)"
        sizes[method] = llm._core._executor._plan.weight_bytes
    assert sizes["int4"] < sizes["int8"] < sizes[None]
    with pytest.raises(ConfigError, match="max_model_len"):
        LLM(olmo, max_model_len=100_000)
