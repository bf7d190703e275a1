"""POST /v1/completions: prompts as they are, gone on with as the offline class does."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from octavo import LLM, BeamSearchParams, SamplingParams
from octavo.app import DEMO_MODEL
from octavo.app.http.completions.side_by_side import side_by_side
from openai import BadRequestError, OpenAI
from serving import running_server, wait_until
from tokenizer_kinds import save_tokenizers
from tokenizers import Tokenizer, processors
from transformers import AutoModelForImageTextToText, AutoTokenizer

MODEL = "octavo-demo"
TOKENIZER = Tokenizer.from_file(str(Path(DEMO_MODEL, "tokenizer.json")))
#: Two texts and the ids of two others.
PROMPTS: list[Any] = ["Hello", "The dog", [310, 268, 333, 37], [265]]


@pytest.fixture(scope="module")
def url(demo_server: str) -> str:
    return demo_server


@pytest.fixture(scope="module")
def transformers_model() -> Any:
    model: Any = AutoModelForImageTextToText.from_pretrained(DEMO_MODEL, dtype=torch.float32)
    return model.eval()


def ids_of(text: str) -> list[int]:
    found: list[int] = TOKENIZER.encode(text, add_special_tokens=False).ids
    return found


def post(base: str, **fields: Any) -> httpx.Response:
    return httpx.post(f"{base}/v1/completions", json={"prompt": "Hello", **fields}, timeout=240)


def streamed(client: OpenAI, **fields: Any) -> tuple[dict[int, str], dict[int, str]]:
    """By index, the texts, and why they ended."""
    texts: dict[int, str] = {}
    ends: dict[int, str] = {}
    for chunk in client.completions.create(model=MODEL, stream=True, **fields):
        for choice in chunk.choices:
            assert choice.index not in ends, "more after the end"
            texts[choice.index] = texts.get(choice.index, "") + choice.text
            if choice.finish_reason:
                ends[choice.index] = choice.finish_reason
    return dict(sorted(texts.items())), dict(sorted(ends.items()))


#: Fields of the openai SDK, and those that it passes in extra_body.
FIELDS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"temperature": 0}, {}),
    ({"n": 3, "temperature": 1.0, "seed": 7, "top_p": 0.9}, {"top_k": 40, "min_p": 0.02}),
    ({"temperature": 0, "presence_penalty": 1.5, "frequency_penalty": 0.5}, {}),
    ({"temperature": 0, "stop": ["a", "e"]}, {"min_tokens": 3, "bad_words": ["This"]}),
]


@pytest.mark.parametrize(("standard", "extra"), FIELDS)
@pytest.mark.parametrize("prompt", ["Hello", PROMPTS, [46, 363, 309], ["Hello"]], ids=str)
def test_same_answers_as_offline(
    client: OpenAI, offline: LLM, prompt: Any, standard: dict[str, Any], extra: dict[str, Any]
) -> None:
    params = offline.default_sampling_params(**standard, **extra, max_tokens=12)
    listed = prompt if isinstance(prompt, list) and not isinstance(prompt[0], int) else [prompt]
    given = [item if isinstance(item, str) else {"prompt_token_ids": item} for item in listed]
    outputs = offline.generate(given, params, use_tqdm=False)
    expected = [answer for output in outputs for answer in output.outputs]
    asked = {"prompt": prompt, "max_tokens": 12, "extra_body": extra, **standard}
    completion = client.completions.create(model=MODEL, **asked)
    choices = completion.choices
    assert [choice.index for choice in choices] == list(range(len(listed) * params.n))
    assert [choice.text for choice in choices] == [answer.text for answer in expected]
    ends = [answer.finish_reason for answer in expected]
    assert [choice.finish_reason for choice in choices] == ends
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == sum(len(o.prompt_token_ids) for o in outputs)
    assert completion.usage.completion_tokens == sum(len(a.token_ids) for a in expected)
    texts, stream_ends = streamed(client, **asked)
    assert list(texts.values()) == [answer.text for answer in expected]
    assert list(stream_ends.values()) == ends


def test_sixteen_tokens_unless_more_are_asked_for(client: OpenAI, url: str) -> None:
    def written(**fields: Any) -> int:
        completion = client.completions.create(model=MODEL, prompt=" a", temperature=0, **fields)
        assert completion.usage is not None
        return completion.usage.completion_tokens

    assert written() == 16
    assert written(max_tokens=20) == 20
    assert written(extra_body={"min_tokens": 18}) == 18
    room = 5
    long = [265] * (httpx.get(f"{url}/v1/models").json()["data"][0]["max_model_len"] - room)
    usage = post(url, prompt=long, temperature=0).json()["usage"]
    assert usage["completion_tokens"] == room


def test_beam_search(client: OpenAI, offline: LLM) -> None:
    completion = client.completions.create(
        model=MODEL,
        prompt=["Hello", "The dog"],
        n=3,
        max_tokens=8,
        extra_body={"use_beam_search": True, "length_penalty": 0.5},
    )
    params = BeamSearchParams(beam_width=3, max_tokens=8, length_penalty=0.5)
    outputs = offline.beam_search(["Hello", "The dog"], params)
    expected = [answer.text for output in outputs for answer in output.outputs]
    assert [choice.text for choice in completion.choices] == expected


def joined(tables: list[Any]) -> dict[str, list[Any]]:
    names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
    return {name: [cell for table in tables for cell in getattr(table, name)] for name in names}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("prompt", ["The café: 你好 😀 <s> a dog", ids_of("The dog 😀")], ids=str)
def test_log_probabilities_are_transformers(
    client: OpenAI, prompt: Any, echo: bool, stream: bool, transformers_model: Any
) -> None:
    """Of each token, and the likeliest; offsets are where its text is, which joins to the whole."""
    ids = prompt if isinstance(prompt, list) else ids_of(prompt)
    asked: Any = {"model": MODEL, "prompt": prompt, "echo": echo, "logprobs": 3, "seed": 1}
    asked |= {"temperature": 1, "max_tokens": 6, "extra_body": {"ignore_eos": True}}
    if stream:
        choices = [chunk.choices[0] for chunk in client.completions.create(**asked, stream=True)]
    else:
        choices = client.completions.create(**asked).choices
    text = "".join(choice.text for choice in choices)
    table = joined([choice.logprobs for choice in choices if choice.logprobs])
    assert text.startswith(TOKENIZER.decode(ids) if isinstance(prompt, list) else prompt) is echo
    num_told = len(table["tokens"])
    assert num_told == 6 + echo * len(ids)
    offsets = table["text_offset"]
    assert offsets[0] == 0
    assert offsets == sorted(offsets)
    for token, begin, end in zip(table["tokens"], offsets, [*offsets[1:], len(text)], strict=True):
        # Parts of a character are named by their bytes, and special tokens may take no room.
        assert token.startswith("bytes:") or text[begin:end] in (token, "")
    if not echo:
        return
    assert (table["token_logprobs"][0], table["top_logprobs"][0]) == (None, None)
    with torch.no_grad():
        logits = transformers_model(torch.tensor([ids])).logits[0]
    expected = torch.log_softmax(logits.float(), -1)
    for i in range(1, len(ids)):
        told = table["token_logprobs"][i]
        assert told == pytest.approx(float(expected[i - 1, ids[i]]), abs=2e-3)
        top = table["top_logprobs"][i]
        likeliest = expected[i - 1].topk(3).values.tolist()
        assert sorted(top.values())[-3:] == pytest.approx(sorted(likeliest), abs=2e-3)
        assert told == top[table["tokens"][i]]
        assert len(top) in (3, 4)


def test_the_prompt_alone(client: OpenAI) -> None:
    asked: Any = {"model": MODEL, "prompt": "The dog", "echo": True, "logprobs": 0}
    asked |= {"max_tokens": 0, "temperature": 0}
    completion = client.completions.create(**asked)
    (choice,) = completion.choices
    assert (choice.text, choice.finish_reason) == ("The dog", "length")
    assert choice.logprobs is not None
    assert choice.logprobs.tokens == ["The", " dog"]
    assert choice.logprobs.top_logprobs[1] == {" dog": choice.logprobs.token_logprobs[1]}
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 0
    del asked["model"], asked["logprobs"]
    assert streamed(client, **{**asked, "prompt": ["a", "b"]})[0] == {0: "a", 1: "b"}


def test_prompt_logprobs_of_each_prompt(url: str) -> None:
    given = {"max_tokens": 1, "prompt_logprobs": 1, "n": 2, "temperature": 1, "seed": 1}
    choices = post(url, prompt=["The dog", [265, 265, 265]], **given).json()["choices"]
    assert [len(choice["prompt_logprobs"]) for choice in choices] == [2, 2, 3, 3]
    table = post(url, prompt="The dog", max_tokens=1, echo=True, logprobs=1).json()
    expected = table["choices"][0]["logprobs"]["token_logprobs"][1]
    entry = choices[0]["prompt_logprobs"][1][str(ids_of(" dog")[0])]
    assert entry["logprob"] == pytest.approx(expected, abs=1e-4)
    assert entry["decoded_token"] == " dog"


def test_usage_at_the_end_of_a_stream(client: OpenAI) -> None:
    options: Any = {"include_usage": True}
    chunks = list(
        client.completions.create(
            model=MODEL,
            prompt=["Hello", "The dog"],
            max_tokens=3,
            stream=True,
            stream_options=options,
        )
    )
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (3 + 2, 6)
    assert len({chunk.id for chunk in chunks}) == 1


def test_more_prompts_than_run_at_once(client: OpenAI, offline: LLM) -> None:
    prompts = [ids_of("The dog")[:1] * count for count in range(1, 101)]
    params = SamplingParams(temperature=0, max_tokens=2)
    given = [{"prompt_token_ids": prompt} for prompt in prompts]
    expected = [o.outputs[0].text for o in offline.generate(given, params, use_tqdm=False)]
    asked: Any = {"prompt": prompts, "temperature": 0, "max_tokens": 2}
    completion = client.completions.create(model=MODEL, **asked)
    assert [choice.text for choice in completion.choices] == expected
    assert list(streamed(client, **asked)[0].values()) == expected


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"prompt": []}, "prompt", "at least one"),
        ({"prompt": ""}, "prompt", "empty"),
        ({"prompt": ["a", ""]}, "prompt[1]", "prompt[1] is empty"),
        ({"prompt": ["a", 5]}, "prompt[1]", "a list of token ids"),
        ({"prompt": [5, "a"]}, "prompt[0]", "a list of token ids"),
        ({"prompt": ["a", []]}, "prompt[1]", "empty"),
        ({"prompt": [[5], [10**6]]}, "prompt[1]", "prompt[1] has token ids outside"),
        ({"prompt": [[5], [-1]]}, "prompt[1]", "outside"),
        ({"prompt": [265] * 2048}, "prompt", "leaves no room"),
        ({"prompt": ["a", "a b " * 10**5]}, "prompt[1]", "more than the context"),
        ({"prompt": ["a"] * 2049}, "prompt[2048]", "send fewer"),
        ({"prompt": {"text": "a"}}, "prompt", "must be"),
        ({"prompt": [True]}, "prompt[0]", "token ids"),
        ({"prompt": [[1.5]]}, "prompt[0]", "token ids"),
        ({"prompt": [2**70]}, "prompt", "outside"),
        ({"prompt": "An <image>"}, "prompt", "image"),
        ({"prompt": "a", "max_tokens": 5000}, "max_tokens", "leaves"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens", "at least 1"),
        ({"suffix": "a"}, "suffix", "not honoured"),
        ({"best_of": 3, "n": 2}, "best_of", "can only be n"),
        ({"logprobs": 21}, "logprobs", "at most 20"),
        ({"prompt_logprobs": 1, "echo": True, "logprobs": 1}, "prompt_logprobs", "joined"),
        ({"prompt": ["a", "b"], "include_timings": True}, "include_timings", "single"),
        ({"use_beam_search": True, "logprobs": 0}, "logprobs", "use_beam_search"),
        ({"use_beam_search": True, "prompt_logprobs": 0}, "prompt_logprobs", "use_beam_search"),
        ({"messages": []}, "messages", "/v1/chat/completions"),
    ],
)
def test_refusals_name_what_is_at_fault(
    url: str, fields: dict[str, Any], param: str, words: str, stream: bool
) -> None:
    if stream and ("use_beam_search" in fields or "prompt_logprobs" in fields):
        return
    answer = post(url, stream=stream, **fields)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    assert words in error["message"]


def test_the_sdk_raises_refusals(client: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="suffix"):
        client.completions.create(model=MODEL, prompt="a", suffix="b")


def test_a_client_that_leaves_frees_the_blocks(url: str) -> None:
    def free_blocks() -> int:
        count: int = httpx.get(f"{url}/health").json()["num_free_blocks"]
        return count

    before = free_blocks()
    body = {"prompt": ["a"] * 80, "max_tokens": 1500, "stream": True, "ignore_eos": True}
    with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=240) as answer:
        assert next(answer.iter_lines()).startswith("data:")
    wait_until(lambda: free_blocks() == before)


@pytest.fixture(scope="module")
def spaced(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama whose tokenizer begins sequences with <s>, and marks words by the space before."""
    folder = tmp_path_factory.mktemp("spaced") / "llama"
    shutil.copytree(checkpoints["llama"], folder)
    shutil.copytree(
        save_tokenizers(tmp_path_factory.mktemp("tokenizers"))["llama"], folder, dirs_exist_ok=True
    )
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    begin = ("<s>", tokenizer.token_to_id("<s>"))
    template: Any = processors.TemplateProcessing("<s> $A", None, [begin])
    tokenizer.post_processor = template
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def spaced_offline(spaced: Path) -> Iterator[LLM]:
    with LLM(spaced, dtype="float32") as llm:
        yield llm


@pytest.fixture(scope="module")
def spaced_server(spaced: Path) -> Iterator[str]:
    with running_server(str(spaced), "--dtype=float32") as base:
        yield base


@pytest.fixture(scope="module")
def spaced_tokenizer(spaced: Path) -> Any:
    return AutoTokenizer.from_pretrained(spaced)


def test_a_sequence_begins_as_the_tokenizer_begins_it(
    spaced_server: str, spaced_offline: LLM, spaced_tokenizer: Any
) -> None:
    """Once, whether or not the text does so itself, and not if the request says so."""
    ids = spaced_tokenizer("The café")["input_ids"]
    plain = spaced_tokenizer("The café", add_special_tokens=False)["input_ids"]
    assert ids == [spaced_tokenizer.bos_token_id, *plain]
    given: dict[str, Any] = {"temperature": 0, "allowed_token_ids": list(range(3, 300))}
    params = SamplingParams(**given)
    (expected,) = spaced_offline.generate("The café", params, use_tqdm=False)
    assert expected.prompt_token_ids == ids
    for prompt in ("The café", "<s>The café", ids):
        answer = post(spaced_server, prompt=prompt, **given).json()
        assert answer["choices"][0]["text"] == expected.outputs[0].text
        assert answer["usage"]["prompt_tokens"] == len(ids)
    given = {"prompt": "The café", "max_tokens": 1, "add_special_tokens": False}
    assert post(spaced_server, **given).json()["usage"]["prompt_tokens"] == len(plain)
    given = {"prompt": "The café", "max_tokens": 0, "echo": True, "logprobs": 0}
    (choice,) = post(spaced_server, **given).json()["choices"]
    assert choice["text"] == "The café"
    assert choice["logprobs"]["tokens"][0] == "<s>"
    assert choice["logprobs"]["text_offset"][:2] == [0, 0]


@pytest.mark.parametrize("prompt", ["The café", [0]], ids=str)
def test_an_answer_goes_on_with_the_prompt_s_text(
    spaced_server: str, spaced_offline: LLM, spaced_tokenizer: Any, prompt: Any
) -> None:
    """As transformers decodes both together: a space before a word only after another one."""
    is_text = isinstance(prompt, str)
    alone: Any = prompt if is_text else {"prompt_token_ids": prompt}
    vocabulary = spaced_tokenizer.get_vocab().items()
    words = [i for entry, i in vocabulary if len(entry) > 1 and entry[0] == "▁" != entry[1]]
    given: dict[str, Any] = {"temperature": 0, "allowed_token_ids": words, "logprobs": 0}
    given |= {"ignore_eos": True}
    (output,) = spaced_offline.generate(alone, SamplingParams(**given), use_tqdm=False)
    ids, answer_ids = output.prompt_token_ids, output.outputs[0].token_ids
    before, both = (
        spaced_tokenizer.decode(shown, skip_special_tokens=True)
        for shown in (ids, [*ids, *answer_ids])
    )
    expected = both.removeprefix(before)
    assert expected.startswith(" ") == is_text
    assert output.outputs[0].text == expected
    beams = BeamSearchParams(beam_width=1, max_tokens=4)
    (found,) = spaced_offline.beam_search([alone], beams)[0].outputs
    both = spaced_tokenizer.decode([*ids, *found.token_ids], skip_special_tokens=True)
    assert found.text == both.removeprefix(before)
    for echo in (False, True):
        (choice,) = post(spaced_server, prompt=prompt, echo=echo, **given).json()["choices"]
        assert choice["text"] == (prompt if echo and is_text else "") + expected
        table = choice["logprobs"]
        ends = [*table["text_offset"][1:], len(choice["text"])]
        pieces = [choice["text"][i:j] for i, j in zip(table["text_offset"], ends, strict=True)]
        answer_pieces, tokens = pieces[-len(answer_ids) :], table["tokens"][-len(answer_ids) :]
        assert "".join(answer_pieces) == expected
        assert answer_pieces[1:] == tokens[1:]


def test_the_first_failure_ends_what_runs_side_by_side() -> None:
    ended: list[int] = []
    given: list[tuple[int, int]] = []

    async def source(index: int) -> AsyncGenerator[int]:
        try:
            yield index
            if index == 2:
                raise ValueError("the third")
            await asyncio.sleep(3600)
        finally:
            ended.append(index)

    async def run() -> None:
        async for pair in side_by_side([source(i) for i in range(3)], at_once=3):
            given.append(pair)

    with pytest.raises(ValueError, match="the third"):
        asyncio.run(run())
    assert given == [(0, 0), (1, 1), (2, 2)]
    assert sorted(ended) == [0, 1, 2]
