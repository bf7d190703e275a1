"""Layers of GGUF files that stay in the bits that they are stored in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize, quantize
from gguf_files import is_quantised, is_table, write_gguf
from numpy.typing import NDArray
from octavo import LLM
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from octavo.core.checkpoints.gguf.gguf_codes import PACKINGS, read_codes
from octavo.core.checkpoints.gguf.gguf_file import GgufTensor
from octavo.core.layers.quantized_linear import QuantizedLinear
from octavo.core.layers.stored.quantized_embedding import QuantizedEmbedding
from octavo.plugins.quant.gguf.method import GgufMethod
from parity import GREEDY, check_equal, conversation, greedy_answer
from text_checkpoints import save_family
from torch import nn
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
    block, data, packing = GGML_QUANT_SIZES[kind][0], random_rows(kind), PACKINGS[kind]
    codes = read_codes(GgufTensor(kind, data), packing)
    assert codes.steps.dtype == (np.uint8 if packing.bits == 4 else np.int8)
    assert packing.bits == 8 or codes.steps.max() < 16
    assert (codes.zero is not None) is packing.has_zero
    groups = codes.steps.reshape(7, -1, packing.group_size).astype(np.float32)
    values = groups * codes.scale[..., None]
    if codes.zero is not None:
        values = values + codes.zero[..., None]
    assert np.array_equal(values.reshape(7, 3 * block), dequantize(data, kind))


def random_rows(kind: Kind) -> NDArray[np.uint8]:
    """Of seven rows of three blocks."""
    generator = np.random.default_rng(0)
    data = generator.integers(0, 256, (7, 3, GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    for start in HALVES[kind]:
        halves = generator.standard_normal((7, 3, 1)).astype(np.float16)
        data[:, :, start : start + 2] = halves.view(np.uint8)
    return data.reshape(7, -1)


@pytest.mark.parametrize("kind", PACKINGS, ids=lambda kind: kind.name)
def test_embeddings_are_the_rows_of_the_gguf_package(kind: Kind) -> None:
    """To the bit, in any order."""
    data, packing = random_rows(kind), PACKINGS[kind]
    expected = torch.from_numpy(dequantize(data, kind))
    settings = {"layers": {"t": (packing.bits, packing.group_size, packing.has_zero)}}
    method = GgufMethod({"quant_method": "gguf", **settings})
    stored = method.reserve("t", nn.Linear(expected.shape[1], 7, bias=False))
    assert stored is not None
    for name, values in read_codes(GgufTensor(kind, data), packing)._asdict().items():
        if values is not None:
            setattr(stored, name, torch.tensor(values))
    layer = method.finish("t", stored)
    assert isinstance(layer, QuantizedLinear)
    ids = torch.tensor([6, 0, 0, 3])
    assert torch.equal(QuantizedEmbedding(layer.weight)(ids), expected[ids])


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


@pytest.mark.parametrize(
    ("family", "kind"),
    [("Llama", Kind.Q8_0), ("Qwen2", Kind.Q4_1), ("Gemma2", Kind.Q5_0), ("Qwen3", Kind.Q4_0)],
    ids=str,
)
def test_embeddings_and_heads_stay_packed(
    family: str, kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gemma's head is its embeddings; those of the others are two tables."""
    folder = save_family(tmp_path / "folder", family, SETTINGS.get(family, {}))
    path = write_gguf(tmp_path / "model.gguf", folder, kind=Kind.Q8_0, tables=kind)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    table = quantize(model.get_input_embeddings().weight.detach().numpy(), kind)
    for name, weight in model.requires_grad_(False).named_parameters():
        if is_table(name) or is_quantised(name, weight):
            own = kind if is_table(name) else Kind.Q8_0
            weight.data = torch.from_numpy(dequantize(quantize(weight.numpy(), own), own))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = greedy_answer(model, tokenizer, [{"role": "user", "content": "What is this?"}])

    ours = load(path)._core._executor._runner._model
    assert isinstance(ours.model.embed_tokens, QuantizedEmbedding)
    ids = torch.randint(2048, (64,), generator=torch.Generator().manual_seed(0))
    found = ours.model.embed_tokens(ids)
    assert np.array_equal(found.numpy(), dequantize(table, kind)[ids.numpy()])
    # The head takes its bits, a scale and an offset for each group, and a scale for each output.
    packed, (rows, width) = PACKINGS[kind], model.get_input_embeddings().weight.shape
    most = rows * width * (packed.bits / 8 + 4 / packed.group_size) + rows * 4
    assert sum(tensor.nbytes for tensor in ours._head.tensors()) <= most
    hidden = torch.randn(5, 64, generator=torch.Generator().manual_seed(1))
    logits = ours.compute_logits(hidden)
    exact = model.lm_head(hidden)
    if family == "Gemma2":
        exact = torch.tanh(exact / 5) * 5
    assert (logits - exact).norm() < 0.01 * exact.norm()

    monkeypatch.setenv("OCTAVO_KERNELS", "decoder=reference,linear=reference")
    check_equal(load(path).chat([conversation("What is this?", [])], GREEDY)[0], expected, 2e-3)


def load(path: Path) -> LLM:
    return LLM(path, dtype="float32", max_model_len=128, kv_cache_memory=8 << 20)


def test_a_packed_file_says_so(tmp_path: Path) -> None:
    folder = save_family(tmp_path / "folder", "Llama", {})
    plain = write_gguf(tmp_path / "plain.gguf", folder)
    packed = write_gguf(tmp_path / "packed.gguf", folder, tables=Kind.Q8_0)
    for path, name in ((plain, None), (packed, "gguf")):
        assert load(path)._core._executor.facts.runtime.quantization == name


def test_another_method_takes_the_dequantised_weights(tmp_path: Path) -> None:
    folder = save_family(tmp_path / "folder", "Llama", {})
    path = write_gguf(tmp_path / "model.gguf", folder, kind=Kind.Q8_0)
    plain = LLM(path, max_model_len=128, kv_cache_memory=8 << 20)
    smaller = LLM(path, max_model_len=128, kv_cache_memory=8 << 20, quantization="int4")
    for llm in (plain, smaller):
        assert llm.chat([conversation("a dog", [])], GREEDY)[0].outputs[0].token_ids
