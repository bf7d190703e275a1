"""Answers that are one of some texts: as transformers' generate, and whatever is drawn."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from octavo import LLM, SamplingParams
from octavo.core.checkpoints.checkpoint import Checkpoint
from octavo.core.prompts.choices import choices_automaton
from octavo.core.prompts.token_bytes import TokenBytes
from octavo.core.prompts.tokenizer import Tokenizer
from octavo.core.protocol.constraints.token_automaton import TokenAutomaton
from octavo.core.protocol.errors import RequestError
from parity import Reference, apply_template, conversation
from PIL import Image
from tokenizer_kinds import KINDS, TIDIED, save_tokenizers

CHOICES = ["cat", "cats", "a dog", "tree", "the sea", "none of these"]
ODD = ["café", "naïve", "日本", "日本語", "漢字!", "😀👨‍👩‍👧", "a  b", "x\ny", "e\u0301", "é", "e"]


@pytest.fixture(scope="module")
def llm() -> LLM:
    return LLM(dtype="float32", kv_cache_memory=32 * 2**20)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    folders = save_tokenizers(tmp_path_factory.mktemp("tokenizers"))
    return {name: Tokenizer(Checkpoint(name, folder)) for name, folder in folders.items()}


def automaton_of(choices: list[str], llm: LLM) -> TokenAutomaton:
    return choices_automaton(choices, llm._inputs.tokenizer)


def texts_of(llm: LLM, prompts: list[Any], params: SamplingParams | list[SamplingParams]) -> Any:
    outputs = llm.chat(prompts, params)
    assert all(answer.finish_reason == "stop" for one in outputs for answer in one.outputs)
    return [answer.text.strip() for one in outputs for answer in one.outputs]


def test_greedy_answers_are_those_of_transformers(
    llm: LLM, checkpoints: dict[str, Path], pictures: list[Image.Image]
) -> None:
    """With what may follow worked out from texts alone, token by token of the vocabulary."""
    reference = Reference(checkpoints["demo"])
    tokenizer = reference.processor.tokenizer
    wholes = [text for choice in CHOICES for text in (choice, f" {choice}")]
    special = set(tokenizer.all_special_ids)

    @cache
    def following(answer: tuple[int, ...]) -> list[int]:
        so_far = tokenizer.decode(answer)
        allowed = []
        for token_id in range(len(tokenizer)):
            text = tokenizer.decode([*answer, token_id])
            spells = text != so_far and any(whole.startswith(text) for whole in wholes)
            if spells and token_id not in special:
                allowed.append(token_id)
        return allowed + [tokenizer.eos_token_id] * (so_far in wholes)

    prompts = [conversation("What is this?", [picture]) for picture in pictures]
    prompts.append(conversation("Is it a cat?", []))
    expected = []
    for prompt in prompts:
        inputs = apply_template(reference.processor, prompt)
        length = inputs["input_ids"].shape[1]
        ids = reference.model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=30,
            prefix_allowed_tokens_fn=lambda _, ids, length=length: following(
                tuple(ids.tolist()[length:])
            ),
        )
        expected.append(ids[0, length:].tolist())
    params = SamplingParams(
        temperature=0, max_tokens=30, token_automaton=automaton_of(CHOICES, llm), logprobs=1
    )
    outputs = llm.chat(prompts, params)
    assert [output.outputs[0].token_ids for output in outputs] == expected
    for output in outputs:
        answer = output.outputs[0]
        assert answer.text in wholes
        assert answer.logprobs is not None
        assert len(answer.logprobs) == len(answer.token_ids)


def test_whatever_is_drawn_is_a_choice(llm: LLM) -> None:
    dice = random.Random(23)
    for _ in range(8):
        choices = dice.sample(CHOICES + ODD, dice.randint(1, 6))
        params = SamplingParams(
            temperature=dice.choice([0.3, 1.0, 2.0]),
            seed=dice.randrange(1000),
            n=8,
            max_tokens=dice.choice([None, 40]),
            min_p=dice.choice([0, 0.1]),
            presence_penalty=dice.choice([0, 2]),
            token_automaton=automaton_of(choices, llm),
        )
        drawn = texts_of(llm, [conversation("What is this?", [])], params)
        assert set(drawn) <= set(choices)
        assert drawn == texts_of(llm, [conversation("What is this?", [])], params)


def test_every_choice_can_be_drawn(llm: LLM) -> None:
    choices = ["cat", "cats", "dog"]
    params = SamplingParams(
        temperature=2, seed=1, n=60, max_tokens=20, token_automaton=automaton_of(choices, llm)
    )
    assert set(texts_of(llm, [conversation("a", [])], params)) == set(choices)


def test_short_answers_are_not_cut(llm: LLM) -> None:
    automaton = automaton_of(["none of these"], llm)
    params = SamplingParams(
        temperature=2, seed=0, n=20, max_tokens=automaton.shortest, token_automaton=automaton
    )
    assert set(texts_of(llm, [conversation("a", [])], params)) == {"none of these"}
    with pytest.raises(RequestError, match="shortest answer"):
        SamplingParams(max_tokens=automaton.shortest - 1, token_automaton=automaton)


def test_others_in_the_batch_and_preemption_change_nothing(checkpoints: dict[str, Path]) -> None:
    block_bytes = 2 * 2 * 2 * 16 * 4 * 16
    settings: dict[str, Any] = {"dtype": "float32", "max_model_len": 128}
    roomy = LLM(checkpoints["llama"], **settings)
    starved = LLM(checkpoints["llama"], **settings, kv_cache_memory=8 * block_bytes)
    choice = " ".join(f"word {i}" for i in range(8))
    automaton = automaton_of([choice, choice + "!"], roomy)
    free = SamplingParams(temperature=0, max_tokens=40, ignore_eos=True)
    bound = [
        SamplingParams(temperature=1, seed=i, max_tokens=60, token_automaton=automaton)
        for i in range(3)
    ]
    prompts = [f"{'word ' * (5 + i)}" for i in range(6)]
    mixed = [params for one in bound for params in (free, one)]
    expected = [
        roomy.generate(prompt, params)[0].outputs[0].token_ids
        for prompt, params in zip(prompts, mixed, strict=True)
    ]
    for llm in (roomy, starved):
        outputs = llm.generate(prompts, mixed)
        assert [output.outputs[0].token_ids for output in outputs] == expected
        assert {output.outputs[0].text.strip() for output in outputs[1::2]} <= {
            choice,
            choice + "!",
        }
    assert starved.stats().num_preemptions > 0


def test_settings_that_leave_nothing_fail(llm: LLM) -> None:
    automaton = automaton_of(["cat"], llm)
    params = SamplingParams(max_tokens=20, min_tokens=15, token_automaton=automaton)
    with pytest.raises(RequestError, match="leave no token to choose"):
        llm.chat(conversation("a", []), params)


@pytest.mark.parametrize("kind", [*KINDS, TIDIED])
def test_walks_spell_choices_with_every_kind_of_tokenizer(
    served: dict[str, Tokenizer], kind: str
) -> None:
    tokenizer, dice = served[kind], random.Random(24)
    choices = ["a b c d", "a", "isn", "long", "it says"]
    if kind in ("byte_level", "llama", "gemma", "metaspace"):
        choices += ODD
    automaton = choices_automaton(choices, tokenizer)
    seen = set()
    for _ in range(600):
        token_ids, state = [], 0
        while not automaton.accepts(state) or (
            automaton.transitions[state] and dice.random() < 0.5
        ):
            token_ids.append(dice.choice(list(automaton.transitions[state])))
            state = automaton.after(state, token_ids[-1])
        assert tokenizer.decode(token_ids).strip() in choices
        seen.add(tokenizer.decode(token_ids).strip())
    assert seen == set(choices)


@pytest.mark.parametrize("kind", [*KINDS, TIDIED])
def test_a_choice_as_it_is_encoded_is_among_the_walks(
    served: dict[str, Tokenizer], kind: str
) -> None:
    """Which a model has learnt to write."""
    tokenizer = served[kind]
    automaton = choices_automaton(["a b c d", "isn"], tokenizer)
    for choice in ("a b c d", "isn"):
        state = 0
        for token_id in tokenizer.encode_text(choice):
            state = automaton.transitions[state][token_id]
        assert automaton.accepts(state)


def test_the_vocabulary_is_read_once(
    served: dict[str, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = served["gemma"]
    choices_automaton(["a"], tokenizer)
    monkeypatch.setattr(TokenBytes, "_bytes_after", None)
    choices_automaton(["a", "b"], tokenizer)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([], "not empty"),
        ("cat", "must be a list"),
        (["cat", ""], r"choices\[1\] is ''"),
        ([" cat"], r"choices\[0\] is ' cat'"),
        (["a", "b", "a"], "'a' twice"),
        (["a", 7], r"choices\[1\] is 7"),
        (["caf\udce9"], "which is not UTF-8"),
        (["a", "Ж"], r"choices\[1\], 'Ж', can't be written"),
    ],
)
def test_choices_that_are_none(served: dict[str, Tokenizer], choices: Any, message: str) -> None:
    for kind in ("wordpiece", TIDIED):
        with pytest.raises(RequestError, match=message) as raised:
            choices_automaton(choices, served[kind])
        assert raised.value.param == "choices"
