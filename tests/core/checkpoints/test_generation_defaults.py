"""A checkpoint's generation_config.json gives requests their defaults, as transformers' generate
follows it; what isn't honoured is named in the log."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from octavo import LLM, SamplingParams
from octavo.app.http.chat.chat_request import ChatCompletionRequest
from octavo.core.checkpoints.generation_defaults import _HARMLESS, _HONOURED, GenerationDefaults
from octavo.core.protocol.config import ConfigError
from text_checkpoints import save_text_model
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

PROMPT = "The quick brown fox jumps over the lazy dog. The quick brown fox jumps over"
COUNT = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_text_model(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="module")
def plain(folder: Path) -> list[int]:
    return generate(folder, {})


def generate(folder: Path, config: dict[str, Any]) -> list[int]:
    """What transformers writes, greedily, with this file."""
    write(folder, config)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(PROMPT, return_tensors="pt")
    model.generation_config.do_sample = False
    limit = {} if "max_new_tokens" in config else {"max_new_tokens": COUNT}
    ids = model.generate(**inputs, tokenizer=tokenizer, **limit)[0]
    new: list[int] = ids[inputs["input_ids"].shape[1] :].tolist()
    return new


def write(folder: Path, config: dict[str, Any]) -> None:
    text = json.dumps({"do_sample": False, "eos_token_id": 2, **config})
    (folder / "generation_config.json").write_text(text)


def load(folder: Path) -> LLM:
    return LLM(folder, dtype="float32", kv_cache_memory=2**24)


def test_each_field_changes_the_answer_as_in_generate(folder: Path, plain: list[int]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    several = [plain[3], *[ids for ids in plain if ids != plain[3]][:1]]
    cases: dict[str, dict[str, Any]] = {
        "nothing": {},
        "repetition_penalty": {"repetition_penalty": 0.05},
        "suppress_tokens": {"suppress_tokens": several},
        "bad_words_ids": {"bad_words_ids": [[plain[0], plain[1]], [plain[4]], [2]]},
        "max_new_tokens": {"max_new_tokens": 7},
        "eos_token_id": {"eos_token_id": [plain[5], 2]},
        "two at once": {"repetition_penalty": 0.05, "suppress_tokens": several, "temperature": 0.7},
    }
    for name, config in cases.items():
        expected = generate(folder, config)
        assert (expected == plain) == (name == "nothing")
        llm = load(folder)
        params = (
            llm.default_sampling_params()
            if "max_new_tokens" in config
            else llm.default_sampling_params(max_tokens=COUNT)
        )
        assert llm.generate(PROMPT, params)[0].outputs[0].token_ids == expected, name
    stop = tokenizer.decode(plain[6:8])
    assert stop.strip()
    with_stop = generate(folder, {"stop_strings": [stop]})
    params = (llm := load(folder)).default_sampling_params(max_tokens=COUNT)
    completion = llm.generate(PROMPT, params)[0].outputs[0]
    assert completion.finish_reason == "stop"
    assert completion.stop_reason == stop
    assert completion.text == tokenizer.decode(with_stop).partition(stop)[0]


def test_drawing_is_the_defaults_too() -> None:
    config = {"temperature": 0.6, "top_k": 20, "top_p": 0.95, "min_p": 0.05, "do_sample": True}
    defaults = GenerationDefaults.read(config)
    del config["do_sample"]
    assert defaults.sampling == config
    greedy = GenerationDefaults.read({**config, "do_sample": False, "repetition_penalty": 1.05})
    assert greedy.sampling == {"temperature": 0.0, "repetition_penalty": 1.05}


def request(**fields: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest(messages=[{"role": "user", "content": "Hi"}], **fields)


def test_a_request_that_names_a_field_has_its_own() -> None:
    defaults = GenerationDefaults.read(
        {
            "repetition_penalty": 1.05,
            "stop_strings": "END",
            "max_new_tokens": 30,
            "suppress_tokens": [7],
        }
    ).sampling
    params = request().sampling_params(defaults)
    assert (params.repetition_penalty, params.stop, params.max_tokens) == (1.05, ("END",), None)
    assert params.bad_words_ids == ((7,),)
    params = request(repetition_penalty=1.0, stop=[], max_tokens=99).sampling_params(defaults)
    assert (params.repetition_penalty, params.stop, params.max_tokens) == (1.0, (), 99)


def test_the_limit_of_an_answer_keeps_to_the_context(folder: Path) -> None:
    write(folder, {"max_new_tokens": 10_000})
    llm = LLM(folder, dtype="float32", kv_cache_memory=2**24, max_model_len=48)
    output = llm.generate(PROMPT, llm.default_sampling_params(ignore_eos=True))[0]
    assert len(output.prompt_token_ids) + len(output.outputs[0].token_ids) == 48
    assert llm.generate(PROMPT, SamplingParams(max_tokens=2))[0].outputs[0].token_ids[2:] == []


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.WARNING, "octavo"):
        yield caplog


def test_the_log_names_what_is_not_honoured(folder: Path, log: pytest.LogCaptureFixture) -> None:
    write(
        folder,
        {
            "no_repeat_ngram_size": 3,
            "num_beams": 4,
            "typical_p": 0.9,
            "begin_suppress_tokens": [3],
            "length_penalty": 1.0,
            "use_cache": True,
            "pad_token_id": 0,
            "chat_format": "chatml",
        },
    )
    load(folder)
    said = "not honoured: begin_suppress_tokens, no_repeat_ngram_size, num_beams"
    assert [record.getMessage().partition("json ")[2] for record in log.records] == [said]
    log.clear()
    write(folder, {"repetition_penalty": 1.05})
    load(folder)
    assert not log.records


def test_every_field_of_generate_is_honoured_harmless_or_named() -> None:
    fields = {name for name in vars(GenerationConfig()) if not name.startswith("_")}
    named = set(GenerationDefaults.read({**dict.fromkeys(fields, 0.5), **VALID}).not_honoured)
    assert named | _HARMLESS | _HONOURED == fields
    assert not named & (_HARMLESS | _HONOURED)


#: Values of what is honoured.
VALID: dict[str, Any] = {
    "do_sample": True,
    "top_k": 3,
    "bad_words_ids": [[1]],
    "suppress_tokens": [1],
    "stop_strings": ["x"],
    "eos_token_id": 2,
    "max_new_tokens": 5,
    "repetition_penalty": 1.1,
}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"temperature": 3.5}, "temperature must be between 0 and 2"),
        ({"repetition_penalty": 0.0}, "repetition_penalty must be between"),
        ({"top_p": "0.9"}, "top_p must be"),
        ({"max_new_tokens": 0}, "max_tokens must be at least 1"),
        ({"bad_words_ids": [[]]}, "bad_words_ids must be lists of token ids"),
        ({"suppress_tokens": ["x"]}, "bad_words_ids must be lists of token ids"),
    ],
)
def test_a_value_that_no_request_could_have(
    config: dict[str, Any], message: str, folder: Path
) -> None:
    write(folder, {"do_sample": True, **config})
    with pytest.raises(ConfigError, match=r"generation_config\.json: " + message):
        load(folder)
