"""A GGUF file answers as the folder that it was made of does in transformers, and a file that says
more than is used is refused by the name of what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter
from gguf_files import write_gguf
from octavo import LLM
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from octavo.core.checkpoints.generation_defaults import GenerationDefaults
from octavo.core.protocol.config import ConfigError
from parity import GREEDY, check_equal, conversation, greedy_answer
from text_checkpoints import save_family
from transformers import AutoModelForCausalLM, AutoTokenizer

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 1000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 128,
}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
DEFAULT = {"rope_type": "default", "rope_theta": 10000.0}
GEMMA2: dict[str, Any] = {
    "query_pre_attn_scalar": 24,
    "head_dim": 24,
    "sliding_window": 8,
    "attn_logit_softcapping": 2.0,
    "final_logit_softcapping": 5.0,
}
#: Six layers: the last sees everything, the others through windows.
GEMMA3: dict[str, Any] = {
    "query_pre_attn_scalar": 16,
    "num_hidden_layers": 6,
    "sliding_window": 8,
    "rope_parameters": {
        "full_attention": {**LINEAR, "rope_theta": 1000000.0},
        "sliding_attention": DEFAULT,
    },
}


def longrope(original: int) -> dict[str, Any]:
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "long_factor": [1.0 + i / 4 for i in range(8)],
        "short_factor": [1.0 + i / 16 for i in range(8)],
        "original_max_position_embeddings": original,
    }
    return {"rope_parameters": rope, "original_max_position_embeddings": original}


#: By name: the family in transformers and what its config says.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"head_dim": 24}),
    "llama-3.1": ("Llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "llama-linear": ("Llama", {"rope_parameters": LINEAR}),
    "llama-biased": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "qwen2": ("Qwen2", {"rope_parameters": YARN}),
    "qwen3": ("Qwen3", {"head_dim": 24, "rope_parameters": {**DEFAULT, "rope_theta": 1e6}}),
    "gemma2": ("Gemma2", GEMMA2),
    "gemma3": ("Gemma3", GEMMA3),
    "phi3": ("Phi3", {"sliding_window": 13}),
    # The one keeps to its trained length, the other is beyond it from the start.
    "phi3-longrope-short": ("Phi3", longrope(original=256)),
    "phi3-longrope-long": ("Phi3", longrope(original=16)),
    "phi3-partial": ("Phi3", {"partial_rotary_factor": 0.75}),
}


@pytest.mark.parametrize("name", MODELS)
def test_equal_to_transformers_on_the_folder(name: str, tmp_path: Path) -> None:
    family, settings = MODELS[name]
    folder = save_family(tmp_path / "folder", family, settings)
    path = write_gguf(tmp_path / f"{name}.gguf", folder)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    llm = LLM(path, dtype="float32", max_model_len=256, kv_cache_memory=32 << 20)
    text = "The quick brown fox jumps over a lazy dog, and what is in this picture? " * 4
    (output,) = llm.chat([conversation(text, [])], GREEDY)
    expected = greedy_answer(model, tokenizer, [{"role": "user", "content": text}])
    check_equal(output, expected, atol=2e-3)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that files are made of."""
    return save_family(tmp_path_factory.mktemp("llama"), "Llama", {})


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_family(tmp_path_factory.mktemp("gemma"), "Gemma2", GEMMA2)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a kind of rope scaling": ({"rope.scaling.type": "su"}, r"llama\.rope\.scaling\.type = 'su'"),
    "part of a scaling": ({"rope.scaling.alpha": 2.0}, r"llama\.rope\.scaling\.alpha = 2\.0"),
    "yarn's extrapolation": (
        {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 2.0,
            "rope.scaling.yarn_ext_factor": 0.5,
        },
        r"llama\.rope\.scaling\.yarn_ext_factor = 0\.5",
    ),
    "sections": ({"rope.dimension_sections": [2, 3, 3, 0]}, r"llama\.rope\.dimension_sections"),
    "a window": ({"attention.sliding_window": 7}, r"llama\.attention\.sliding_window = 7"),
    "a scale": ({"attention.scale": 0.5}, r"llama\.attention\.scale = 0\.5.*computes with 0\.25"),
    "clamping": ({"attention.clamp_kqv": 4.0}, r"llama\.attention\.clamp_kqv = 4\.0"),
    "a scale of residuals": ({"residual_scale": 0.5}, r"llama\.residual_scale = 0\.5"),
    "experts": ({"expert_count": 8, "expert_used_count": 2}, r"llama\.expert_count = 8"),
    "states": ({"ssm.state_size": 16}, r"llama\.ssm\.state_size = 16"),
    "a key that nobody knows": ({"attention.sinks": 4}, r"llama\.attention\.sinks = 4"),
    "a part of several": ({"split.count": 3}, r"one of 3 parts"),
    "an adapter": ({"general.type": "adapter"}, r"general\.type = 'adapter'"),
    "another model's key": ({"general.x": 1, "tokenizer.x": 1}, r"tokenizer\.x = 1"),
    "a note on scaling": ({"note.rope.scaling.x": 1}, r"note\.rope\.scaling\.x = 1"),
    "a tokenizer's key": ({"tokenizer.ggml.lowercase": True}, r"tokenizer\.ggml\.lowercase = True"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_key_that_is_not_used_is_named(name: str, llama: Path, tmp_path: Path) -> None:
    keys, message = REFUSED[name]
    path = write_gguf(tmp_path / "odd.gguf", llama, keys)
    with pytest.raises(ConfigError, match=message):
        find_checkpoint(str(path))


HARMLESS: dict[str, Any] = {
    "rope.scaling.type": "none",
    "rope.scaling.factor": 4.0,
    "rope.scaling.original_context_length": 64,
    "rope.scaling.finetuned": True,
    "attention.causal": True,
    "attention.scale": 0.25,
    "expert_count": 0,
    "logit_scale": 1.0,
    "general.sampling.temp": 0.5,
    "general.sampling.min_p": 0.25,
    "split.count": 1,
    "note.made_by": "someone",
    "tokenizer.ggml.eot_token_id": 9,
}


def test_keys_that_change_nothing_are_taken(llama: Path, tmp_path: Path) -> None:
    """Also a turn's end, which ends an answer, and the file's own way of sampling."""
    plain = find_checkpoint(str(write_gguf(tmp_path / "plain.gguf", llama)))
    full = find_checkpoint(str(write_gguf(tmp_path / "full.gguf", llama, HARMLESS)))
    assert full.config == plain.config
    assert (plain.eos_token_ids, full.eos_token_ids) == ((2,), (2, 9))
    assert plain.generation_config["temperature"] == 0.8
    assert full.generation_config["temperature"] == 0.5
    sampling = [GenerationDefaults.read(c.generation_config).sampling for c in (plain, full)]
    assert [fields["min_p"] for fields in sampling] == [0.0, 0.25]


@pytest.mark.parametrize(
    "name", ["blk.0.attn_rot_embd.weight", "blk.1.attn_q.scale", "blk.0.attn_sinks.weight"]
)
def test_a_tensor_that_is_not_used_is_named(name: str, llama: Path, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "odd.gguf", llama, tensors={name: [1.0] * 16})
    with pytest.raises(ConfigError, match=rf"no use for 1 of .* tensors, such as {name}"):
        find_checkpoint(str(path))


def test_factors_of_another_size_are_refused(llama: Path, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "odd.gguf", llama, tensors={"rope_freqs.weight": [1.0] * 5})
    with pytest.raises(ConfigError, match="factors has 5 values, where 8 belong"):
        find_checkpoint(str(path))


def test_longrope_is_the_folders(tmp_path: Path) -> None:
    """The tensors and the amplitude make the settings that the folder's config had."""
    folder = save_family(tmp_path / "folder", "Phi3", longrope(original=128))
    config = find_checkpoint(str(write_gguf(tmp_path / "long.gguf", folder))).config
    given = dict(config["rope_parameters"])
    # transformers' formula where a config states none: 512 positions from 128.
    assert given.pop("attention_factor") == pytest.approx((1 + 2 / 7) ** 0.5)
    expected = find_checkpoint(str(folder)).config
    assert given == expected["rope_parameters"]
    assert config["original_max_position_embeddings"] == 128


def test_a_pattern_of_windows(gemma: Path, tmp_path: Path) -> None:
    keys = {"attention.sliding_window_pattern": [False, True]}
    config = find_checkpoint(str(write_gguf(tmp_path / "list.gguf", gemma, keys))).config
    assert config["layer_types"] == ["full_attention", "sliding_attention"]
    for period, kinds in ((1, "full full"), (2, "sliding full"), (0, "sliding sliding")):
        path = write_gguf(tmp_path / "p.gguf", gemma, {"attention.sliding_window_pattern": period})
        layer_types = find_checkpoint(str(path)).config["layer_types"]
        assert layer_types == [f"{kind}_attention" for kind in kinds.split()]
    keys = {"attention.sliding_window_pattern": [False, True, True]}
    with pytest.raises(ConfigError, match=r"gemma2"):
        find_checkpoint(str(write_gguf(tmp_path / "long.gguf", gemma, keys)))


def test_deployed_models_follow_the_file_too(tmp_path: Path) -> None:
    """Where transformers runs the model, which alone would leave the factors out."""
    folder = save_family(tmp_path / "folder", "Llama", {"rope_parameters": LLAMA3})
    path = write_gguf(tmp_path / "llama.gguf", folder)
    text = "The quick brown fox jumps over a lazy dog, and what is in this picture? " * 4
    (output,) = LLM(path, dtype="float32", max_model_len=256, model_impl="transformers").chat(
        [conversation(text, [])], GREEDY
    )
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    check_equal(
        output, greedy_answer(model, tokenizer, [{"role": "user", "content": text}]), atol=2e-3
    )


def test_an_architecture_and_a_type_that_are_not_served_are_named(tmp_path: Path) -> None:
    for architecture, kind, message in (
        ("rwkv6", GGMLQuantizationType.F32, "architecture 'rwkv6' are not served"),
        ("llama", GGMLQuantizationType.Q8_1, r"token_embd\.weight is in Q8_1"),
    ):
        path = tmp_path / f"{architecture}.gguf"
        writer = GGUFWriter(path, architecture)
        block = np.zeros((1, GGML_QUANT_SIZES[kind][1]), np.uint8)
        writer.add_tensor("token_embd.weight", block, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        with pytest.raises(ConfigError, match=message):
            find_checkpoint(str(path))


def test_a_file_that_says_mistral(llama: Path, tmp_path: Path) -> None:
    """transformers takes it for that family, which has a window unless a config says otherwise."""
    path = write_gguf(tmp_path / "m.gguf", llama, {"general.name": "mistral"})
    checkpoint = find_checkpoint(str(path))
    assert checkpoint.config["model_type"] == "mistral"
    assert checkpoint.config["sliding_window"] is None
    expected = AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float32).state_dict()
    weights = dict(checkpoint.weights())
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], weight) for name, weight in expected.items())


def test_a_way_to_split_texts_that_is_not_known_is_named(llama: Path, tmp_path: Path) -> None:
    """transformers would split as GPT-2 does."""
    path = write_gguf(tmp_path / "odd.gguf", llama, pre="deepseek-v3")
    with pytest.raises(ConfigError, match=r"tokenizer\.ggml\.pre = 'deepseek-v3'"):
        find_checkpoint(str(path))
