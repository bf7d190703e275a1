"""Rotary positions of every kind are transformers', also of a kind that changes with length."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from octavo import LLM, SamplingParams
from octavo.core.checkpoints.hf_config import complete_config
from octavo.core.layers.decoder_config import DecoderConfig
from octavo.core.layers.rotary import rotary_table
from octavo.core.protocol.config import ConfigError
from octavo.kernels.ops import AttentionMetadata
from parity import Reference, apply_template, check_equal, conversation
from PIL import Image
from text_checkpoints import SIZES, save_family
from transformers import AutoModelForCausalLM, LlamaConfig, Phi3Config
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from vision_checkpoints.llava import save_llava

TRAINED, LIMIT = 64, 256
LONGROPE: dict[str, Any] = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.05, 1.1, 1.2, 1.3, 1.5],
    "long_factor": [1.0, 1.5, 2.0, 3.0, 5.0, 8.0],
}


def phi4(**longrope: Any) -> dict[str, Any]:
    """Settings of a config, which changes what it is given."""
    return {
        "max_position_embeddings": LIMIT,
        "original_max_position_embeddings": TRAINED,
        "partial_rotary_factor": 0.75,
        "rope_scaling": {**LONGROPE, **longrope},
    }


LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"factor": 4.0, "original_max_position_embeddings": 64}
#: The settings of a rope, in the spelling of transformers 4 where that has another one.
KINDS: dict[str, dict[str, Any]] = {
    "linear": {"rope_scaling": {"type": "linear", "factor": 3.0}},
    "linear, new": {"rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 7e3}},
    "dynamic": {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
    "llama3": {"rope_scaling": {"rope_type": "llama3", **LLAMA3}, "rope_theta": 500.0},
    "yarn": {"rope_parameters": {"rope_type": "yarn", "rope_theta": 500.0, **YARN}},
    "yarn, all settings": {
        "rope_scaling": {
            "rope_type": "yarn",
            **YARN,
            "beta_fast": 16.0,
            "beta_slow": 2.0,
            "mscale": 1.0,
            "mscale_all_dim": 0.7,
            "truncate": False,
        }
    },
    "yarn, amplitude": {"rope_scaling": {"rope_type": "yarn", **YARN, "attention_factor": 1.3}},
    "yarn, ratio": {"rope_scaling": {"rope_type": "yarn", **YARN, "factor": None}},
    "partial": {"rope_parameters": {"rope_type": "linear", "factor": 2.0}, "part": 0.5},
}


def _read(config: Any) -> tuple[Any, int]:
    """The rope settings that a model is built with, and its head size."""
    parsed = DecoderConfig.from_dict(complete_config(config.to_dict()))
    return parsed.rope["full_attention"], parsed.head_dim


def _metadata(*lengths: int, known: tuple[int, ...] | None = None) -> AttentionMetadata:
    """Whole sequences, of which so many tokens are known."""
    none = torch.zeros(0, dtype=torch.int64)
    return AttentionMetadata(none, none, none, none, lengths, lengths, known_lens=known)


def _check_table(config: Any, known: int, seq_len: int | None) -> None:
    kind = config.rope_parameters["rope_type"]
    speeds, amplitude = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), seq_len=seq_len)
    settings, head_dim = _read(config)
    limit = config.max_position_embeddings
    table = rotary_table(settings, head_dim, limit, torch.device("cpu"), torch.float32)
    positions = torch.arange(known)
    cos, sin = table.lookup(positions, _metadata(known))
    angles = torch.outer(positions.float(), speeds).repeat(1, 2)
    torch.testing.assert_close(cos, angles.cos() * amplitude, atol=1e-4, rtol=0)
    torch.testing.assert_close(sin, angles.sin() * amplitude, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_tables_are_transformers(kind: str) -> None:
    settings = dict(KINDS[kind])
    part = settings.pop("part", None)
    partial = {} if part is None else {"partial_rotary_factor": part}
    config = LlamaConfig(
        hidden_size=96, num_attention_heads=4, max_position_embeddings=LIMIT, **settings, **partial
    )
    _check_table(config, LIMIT, None)


@pytest.mark.parametrize("more", [{}, {"attention_factor": 1.7}, {"factor": 2.0}])
@pytest.mark.parametrize("known", [TRAINED, TRAINED + 1])
def test_longrope_tables_are_transformers(known: int, more: dict[str, Any]) -> None:
    config = Phi3Config(hidden_size=64, num_attention_heads=4, **phi4(**more))
    _check_table(config, known, known)


def test_each_sequence_of_a_batch_turns_by_its_own_length() -> None:
    config = Phi3Config(hidden_size=64, num_attention_heads=4, **phi4())
    settings, head_dim = _read(config)
    table = rotary_table(settings, head_dim, LIMIT, torch.device("cpu"), torch.float32)
    positions = torch.tensor([7, 8, 7, 8, 8])
    cos, _ = table.lookup(positions, _metadata(2, 2, 1, known=(9, TRAINED + 1, TRAINED)))
    for token, length in ((1, 9), (3, TRAINED + 1), (4, TRAINED)):
        expected, _ = table.lookup(positions[token : token + 1], _metadata(1, known=(length,)))
        assert torch.equal(cos[token], expected[0])
    assert not torch.equal(cos[1], cos[3])
    with pytest.raises(ValueError, match="give lookup the metadata"):
        table.lookup(positions)


@pytest.fixture(scope="module")
def phi4_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Phi-4-mini."""
    return save_family(tmp_path_factory.mktemp("phi4"), "Phi3", phi4())


#: Tokens of the prompt and of the answer: short, at the border, beyond it from the start and
#: through chunks, and growing over it.
LENGTHS = [(10, 12), (TRAINED - 1, 1), (TRAINED, 6), (TRAINED + 1, 6), (150, 12), (40, 60)]


@pytest.fixture(scope="module")
def expected(phi4_folder: Path) -> list[tuple[list[int], list[int], torch.Tensor]]:
    """What transformers generates, which computes a sequence anew when it outgrows TRAINED."""
    model = AutoModelForCausalLM.from_pretrained(phi4_folder, dtype=torch.float32).eval()
    answers = []
    for length, count in LENGTHS:
        # The prompts begin alike, so that the cache of prefixes is asked for blocks of the others.
        prompt = (torch.arange(3, 3 + length) * 7919 % 2048).tolist()
        result = model.generate(
            torch.tensor([prompt]),
            do_sample=False,
            max_new_tokens=count,
            min_new_tokens=count,
            eos_token_id=-1,
            output_logits=True,
            return_dict_in_generate=True,
        )
        logprobs = torch.cat(result.logits).float().log_softmax(-1)
        answers.append((prompt, result.sequences[0, length:].tolist(), logprobs))
    return answers


@pytest.mark.parametrize(
    "settings",
    [{}, {"enable_prefix_caching": False}, {"max_num_batched_tokens": 23}, {"max_num_seqs": 1}],
    ids=["cached", "not cached", "in chunks", "one by one"],
)
def test_phi4_answers_as_transformers(
    settings: dict[str, Any],
    phi4_folder: Path,
    expected: list[tuple[list[int], list[int], torch.Tensor]],
) -> None:
    llm = LLM(phi4_folder, dtype="float32", kv_cache_memory=2**24, **settings)
    params = [
        SamplingParams(temperature=0, max_tokens=count, ignore_eos=True, logprobs=-1)
        for _, count in LENGTHS
    ]
    for _ in range(2):
        prompts = [{"prompt_token_ids": prompt} for prompt, _, _ in expected]
        for output, answer in zip(llm.generate(prompts, params), expected, strict=True):
            check_equal(output, answer)
        llm._core.check_integrity()
    assert llm.num_free_blocks == llm._core.facts.num_blocks


def test_batch_invariant_answers_are_the_same(
    phi4_folder: Path, expected: list[tuple[list[int], list[int], torch.Tensor]]
) -> None:
    llm = LLM(phi4_folder, dtype="float32", kv_cache_memory=2**24, batch_invariant=True)
    params = SamplingParams(temperature=0, max_tokens=60, ignore_eos=True, logprobs=-1)
    check_equal(llm.generate([{"prompt_token_ids": expected[-1][0]}], params)[0], expected[-1])


def test_a_rope_that_is_not_known_is_refused_by_name(tmp_path: Path) -> None:
    rope = {"rope_type": "proportional", "rope_theta": 1e4, "factor": 2.0}
    save_family(tmp_path, "Llama", {"rope_parameters": rope})
    with pytest.raises(ConfigError, match=r"llama can't be built .* rope_type 'proportional' is"):
        LLM(tmp_path, kv_cache_memory=2**24)


def test_a_sequence_with_pictures_grows_over_the_border(
    tmp_path: Path, pictures: list[Image.Image]
) -> None:
    """Its pictures are encoded again if their features are gone. Truth is transformers' forward
    over the whole sequence, as its LLaVA keeps the keys of before."""
    longrope = {**LONGROPE, "short_factor": [1.0] * 8, "long_factor": [1.0, 1.5, 2, 3, 4, 5, 6, 8]}
    text = partial(Phi3Config, original_max_position_embeddings=TRAINED, rope_scaling=longrope)
    save_llava(tmp_path, "siglip", text)
    reference = Reference(tmp_path)
    prompt = conversation("What is this?", pictures[:1])
    inputs = apply_template(reference.processor, prompt)
    count = TRAINED + 4 - inputs["input_ids"].shape[1]
    params = SamplingParams(temperature=0, max_tokens=count, ignore_eos=True)
    # The cache holds the features of one picture, and the requests show one each.
    room = 16 * SIZES["hidden_size"] * 4
    llm = LLM(tmp_path, dtype="float32", kv_cache_memory=2**24, encoder_cache_memory=room)
    other = conversation("What is this?", pictures[1:2])
    for output, chat in zip(llm.chat([prompt, other], params), (prompt, other), strict=True):
        inputs = apply_template(reference.processor, chat)
        for token_id in output.outputs[0].token_ids:
            with torch.inference_mode():
                logits = reference.model(**inputs, use_cache=False).logits[0, -1]
            assert token_id == int(logits.argmax())
            for name, value in (("input_ids", token_id), ("attention_mask", 1)):
                inputs[name] = torch.cat((inputs[name], torch.tensor([[value]])), dim=1)
    assert llm.stats().encoder_runs > 2
    llm._core.check_integrity()
