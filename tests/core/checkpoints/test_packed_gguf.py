"""Layers of GGUF files that stay in the bits that they are stored in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize, quantize
from gguf_files import is_quantised, write_gguf
from octavo import LLM
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from octavo.core.checkpoints.gguf.gguf_codes import PACKINGS, read_codes
from octavo.core.checkpoints.gguf.gguf_file import GgufTensor
from parity import GREEDY, check_equal, conversation, greedy_answer
from text_checkpoints import save_family
from transformers import AutoModelForCausalLM, AutoTokenizer

Kind = GGMLQuantizationType
#: Where blocks have float16 numbers: random bits would be no numbers now and then.
HALVES = {
    **dict.fromkeys((Kind.Q4_0, Kind.Q5_0, Kind.Q8_0, Kind.IQ4_NL, Kind.IQ4_XS), (0,)),
    **dict.fromkeys((Kind.Q4_1, Kind.Q5_1, Kind.Q4_K, Kind.Q5_K), (0, 2)),
    Kind.Q6_K: (208,),
}

#: What the files' keys say of a family.
SETTINGS = {
    "Gemma2": {
        "query_pre_attn_scalar": 24,
        "head_dim": 24,
        "sliding_window": 8,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 5.0,
    }
}


@pytest.mark.parametrize("kind", PACKINGS, ids=lambda kind: kind.name)
def test_codes_are_the_values_of_the_gguf_package(kind: Kind) -> None:
    """Of random blocks, to the bit."""
    generator = np.random.default_rng(0)
    block, size = GGML_QUANT_SIZES[kind]
    data = generator.integers(0, 256, (7, 3, size), dtype=np.uint8)
    for start in HALVES[kind]:
        halves = generator.standard_normal((7, 3, 1)).astype(np.float16)
        data[:, :, start : start + 2] = halves.view(np.uint8)
    data = data.reshape(7, 3 * size)
    packing = PACKINGS[kind]
    codes = read_codes(GgufTensor(kind, data), packing)
    assert codes.steps.dtype == (np.uint8 if packing.bits == 4 else np.int8)
    assert packing.bits == 8 or codes.steps.max() < 16
    assert (codes.zero is not None) is packing.has_zero
    groups = codes.steps.reshape(7, -1, packing.group_size).astype(np.float32)
    values = groups * codes.scale[..., None]
    if codes.zero is not None:
        values = values + codes.zero[..., None]
    assert np.array_equal(values.reshape(7, 3 * block), dequantize(data, kind))


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("Llama", Kind.Q4_0),
        ("Llama", Kind.Q5_1),
        ("Qwen2", Kind.Q4_1),
        ("Qwen3", Kind.Q5_0),
        ("Gemma2", Kind.Q8_0),
        ("Phi3", Kind.Q8_0),
    ],
    ids=str,
)
def test_answers(family: str, kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of transformers' model with the dequantised weights. Activations stay as they are by the
    reference kernels; the others round them."""
    folder = save_family(tmp_path / "folder", family, SETTINGS.get(family, {}))
    path = write_gguf(tmp_path / "model.gguf", folder, kind=kind)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    quantised = set()
    for name, weight in model.named_parameters():
        if is_quantised(name, weight):
            quantised.add(name.removesuffix(".weight"))
            values = dequantize(quantize(weight.detach().numpy(), kind), kind)
            weight.data = torch.from_numpy(values)
    text = "What is in this picture, and what is not?"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = greedy_answer(model, tokenizer, [{"role": "user", "content": text}])

    packed = set(find_checkpoint(str(path)).kept_packed.quantization_config["layers"])
    # Layers of several, which the model splits, are dequantised.
    assert packed == {name for name in quantised if not name.endswith(("qkv_proj", "up_proj"))} or (
        family != "Phi3" and packed == quantised
    )
    monkeypatch.setenv("OCTAVO_KERNELS", "decoder=reference,linear=reference")
    llm = LLM(path, dtype="float32", max_model_len=128, kv_cache_memory=8 << 20)
    check_equal(llm.chat([conversation(text, [])], GREEDY)[0], expected, atol=2e-3)


def test_another_method_takes_the_dequantised_weights(tmp_path: Path) -> None:
    folder = save_family(tmp_path / "folder", "Llama", {})
    path = write_gguf(tmp_path / "model.gguf", folder, kind=Kind.Q8_0)
    plain = LLM(path, max_model_len=128, kv_cache_memory=8 << 20)
    smaller = LLM(path, max_model_len=128, kv_cache_memory=8 << 20, quantization="int4")
    for llm in (plain, smaller):
        assert llm.chat([conversation("a dog", [])], GREEDY)[0].outputs[0].token_ids
