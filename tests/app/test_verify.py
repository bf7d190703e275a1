"""`octavo verify` agrees on every kind of checkpoint, and notices one weight that is off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from gguf_files import write_gguf
from mmproj_files import FOLDERS, write_mmproj
from octavo import LLM
from octavo.__main__ import main
from octavo.app.verify.cases import make_cases
from octavo.app.verify.comparison import compare_generation, compare_ids, compare_values
from octavo.app.verify.reference import Reference
from octavo.app.verify.verify import verify_case
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from text_checkpoints import save_text_model
from vision_checkpoints import VISION_MODELS

FLOAT32 = torch.float32


@pytest.mark.parametrize("name", ["llava-clip", "gemma3", "qwen2-vl", "idefics3", "paligemma"])
def test_agreement(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save, _ = VISION_MODELS[name]
    folder = save(tmp_path)
    assert main(["verify", str(folder), "--max-tokens", "6"]) == 0
    report = capsys.readouterr().out
    assert "image features  3 images" in report
    assert "agrees with transformers" in report
    assert "0 different" in report


def test_what_a_checkpoint_asks_of_generation_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_text_model(tmp_path, "llama")
    asked = {"repetition_penalty": 0.05, "num_return_sequences": 2, "do_sample": True}
    (tmp_path / "generation_config.json").write_text(json.dumps(asked))
    assert main(["verify", str(tmp_path), "--dtype", "float32", "--max-tokens", "24"]) == 0
    assert "0 different, 0 skipped" in capsys.readouterr().out


@pytest.mark.parametrize(
    "weight",
    [
        "language_model.model.embed_tokens.weight",
        "language_model.model.layers.0.self_attn.k_proj.weight",
        "language_model.model.layers.1.mlp.down_proj.weight",
        "language_model.model.layers.1.post_attention_layernorm.weight",
        "language_model.lm_head.weight",
        "multi_modal_projector.linear_1.weight",
        "vision_tower.encoder.layers.0.mlp.fc1.weight",
        "vision_tower.embeddings.patch_embedding.weight",
    ],
)
def test_one_weight_that_is_off(
    weight: str, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One element, by half a standard deviation; of the embedding, that of a token in use."""
    # Kernels that prepare weights let the parameters go.
    kept = ",".join(f"{op}=reference" for op in ("decoder", "encoder", "linear"))
    monkeypatch.setenv("OCTAVO_KERNELS", kept)
    llm = LLM(checkpoints["llava-siglip"], dtype="float32")
    checkpoint = find_checkpoint(str(checkpoints["llava-siglip"]))
    reference = Reference(checkpoint, FLOAT32, torch.device("cpu"))
    cases = [case for case in make_cases(True, []) if case.num_images == 1]

    parameter = llm._core._executor._runner._model.get_parameter(weight)
    prompt = reference.answer(cases[0], 1).prompt_token_ids
    row = prompt[-1] if "embed_tokens" in weight else 0
    parameter.data[row].view(-1)[0] += 0.5 * parameter.std()
    results = {f.result for c in cases for f in verify_case(llm, reference, c, 4, FLOAT32)}
    assert "DIFFERS" in results


def test_models_that_can_not_be_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_text_model(tmp_path, "llama")
    assert main(["verify", str(folder), "--max-tokens", "4"]) == 0
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "tokenizer.json").unlink()
    assert main(["verify", str(folder)]) == 2
    assert "no usable tokenizer" in capsys.readouterr().err


def test_files_with_a_projector_are_compared_without_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = FOLDERS["smolvlm"](tmp_path / "folder")
    model = str(write_gguf(tmp_path / "model.gguf", folder))
    write_mmproj(tmp_path / "mmproj.gguf", folder)
    with monkeypatch.context() as patched:
        # Refused before a model is loaded that nothing can be compared with.
        patched.delattr("octavo.app.verify.verify.LLM")
        assert main(["verify", model]) == 2
    assert "by --mmproj none" in capsys.readouterr().err
    assert main(["verify", model, "--mmproj", "none", "--max-tokens", "4"]) == 0
    assert "0 different, 0 skipped" in capsys.readouterr().out


def test_differences_are_told_from_ties() -> None:
    logits = torch.tensor([[0.0, 5.0, 1.0], [3.0, 3.0001, 0.0]])
    ours = logits.log_softmax(-1)
    same = compare_generation("x", [1, 1], ours, [1, 1], logits, 1e-3)
    assert [f.result for f in same] == ["ok", "ok"]
    tie = compare_generation("x", [1, 0], ours, [1, 1], logits, 1e-3)
    assert [f.result for f in tie] == ["ok", "ok"]
    assert tie[1].note.startswith("a tie from number 1 on")
    other = compare_generation("x", [2, 1], ours, [1, 1], logits, 1e-3)
    assert [f.result for f in other] == ["ok", "DIFFERS"]
    broken = compare_values("x", "y", ours * torch.nan, ours, 1e-3)
    assert broken.result == "DIFFERS"
    assert compare_values("x", "y", ours[:1], ours, 1e-3).result == "DIFFERS"
    assert "number 2 on" in compare_ids("x", "y", [1, 2], [1, 2, 3]).note
