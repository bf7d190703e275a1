"""Tokens as bytes and names: those of a text join to its UTF-8, and no two tokens are alike."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from octavo.app import DEMO_MODEL
from octavo.app.http.chat.chat_message import ChatMessage
from octavo.app.http.chat.chat_response import ChatResponses, ChunkCursor
from octavo.core.checkpoints.checkpoint import Checkpoint
from octavo.core.client.request_state import RequestState
from octavo.core.prompts.token_bytes import TextSoFar
from octavo.core.prompts.tokenizer import Tokenizer
from octavo.core.protocol.messages import EngineOutput, EngineRequest, TokenLogprobs
from octavo.core.protocol.outputs import RequestOutput
from octavo.core.protocol.sampling_params import SamplingParams
from tokenizer_kinds import KINDS, SPECIAL, TIDIED, save_tokenizers
from transformers import AutoTokenizer

ALPHABET = "aetx ,.'!?  \n1é日本你好😀👨‍👩‍👧e\u0301\u0308ﬁ\u2581Ġ"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tokenizer of each kind in Hugging Face format."""
    return {"demo": Path(DEMO_MODEL), **save_tokenizers(tmp_path_factory.mktemp("tokenizers"))}


@pytest.fixture(scope="module")
def served(folders: dict[str, Path]) -> dict[str, Tokenizer]:
    """Octavo's tokenizers of each kind."""
    return {name: Tokenizer(Checkpoint(name, folder)) for name, folder in folders.items()}


ALL = pytest.mark.parametrize("kind", ["demo", *KINDS, TIDIED])


def plain(output: RequestOutput) -> list[ChatMessage]:
    """Messages of content alone."""
    return [ChatMessage(None) for _ in output.outputs]


def answer(
    tokenizer: Tokenizer, token_ids: Sequence[int], reason: str = "length"
) -> tuple[str, list[dict[str, Any]]]:
    """The text and the log-probabilities' tokens of an answer, streamed token by token; every
    token is also the likeliest other one. Whole and in chunks they are the same."""
    params = SamplingParams(max_tokens=None, logprobs=1)
    state = RequestState(EngineRequest("r", [1], params, [], [], 0.0), tokenizer)
    responses = ChatResponses("r", "model", tokenizer, plain)
    cursor = ChunkCursor(responses)
    streamed: list[dict[str, Any]] = []
    for position, token_id in enumerate(token_ids):
        last = position == len(token_ids) - 1
        logprobs = [TokenLogprobs(-1.0, 1, [token_id], [-1.0])]
        state.update(
            EngineOutput("r", 0, [token_id], logprobs, finish_reason=reason if last else None)
        )
        for chunk in cursor.next_chunks(state.to_output()):
            streamed += (chunk["choices"][0]["logprobs"] or {"content": []})["content"]
    choice = responses.completion(state.to_output())["choices"][0]
    assert choice["logprobs"]["content"] == streamed
    return choice["message"]["content"], streamed


def vocabulary_ids(tokenizer: Tokenizer) -> list[int]:
    return sorted(tokenizer._backend.get_vocab().values())


def joined(entries: list[dict[str, Any]]) -> bytes:
    return b"".join(bytes(entry["bytes"] or ()) for entry in entries)


@ALL
def test_bytes_of_a_texts_tokens_join_to_its_bytes(
    served: dict[str, Tokenizer], folders: dict[str, Path], kind: str
) -> None:
    tokenizer, dice = served[kind], random.Random(20)
    original: Any = AutoTokenizer.from_pretrained(folders[kind])
    incomplete = 0
    for _ in range(150):
        text = "".join(dice.choices(ALPHABET, k=dice.randint(1, 30)))
        token_ids = tokenizer.encode_text(text)
        if not token_ids:
            continue
        for position in {0, dice.randrange(len(token_ids))}:
            token_ids.insert(position, dice.choice([0, 1]))
        said, entries = answer(tokenizer, token_ids)
        # Text that goes out in pieces can't lose a space for what follows it.
        if kind != TIDIED:
            assert said == original.decode(token_ids, skip_special_tokens=True)
        assert joined(entries) == said.encode(), (text, token_ids)
        incomplete += sum(entry["token"].startswith("bytes:") for entry in entries)
        for token_id, entry in zip(token_ids, entries, strict=True):
            assert (entry["bytes"] is None) == (token_id < len(SPECIAL))
    assert bool(incomplete) == (kind in ("demo", "byte_level", "llama", "gemma", "metaspace"))


@ALL
def test_bytes_of_any_tokens_join_to_their_text(served: dict[str, Tokenizer], kind: str) -> None:
    """Parts of characters in any order too, which the text shows as U+FFFD; with byte fallback
    whole characters beside such parts as well, so only tokens that are no bytes are drawn."""
    tokenizer, dice = served[kind], random.Random(21)
    fallback = kind in ("llama", "gemma", "metaspace")
    ids = [i for i in vocabulary_ids(tokenizer) if not fallback or not 3 <= i < 259]
    for _ in range(200):
        token_ids = dice.choices(ids, k=dice.randint(1, 12))
        said, entries = answer(tokenizer, token_ids)
        assert joined(entries).decode(errors="replace") == said, token_ids


@ALL
def test_tokens_are_told_apart(served: dict[str, Tokenizer], kind: str) -> None:
    tokens = served[kind].token_bytes
    ids = [*vocabulary_ids(served[kind]), 10**6, 10**6 + 1]
    names = {tokens.name(token_id) for token_id in ids}
    assert len(names) == len(ids)
    assert "" not in names


def test_a_byte_is_its_own(served: dict[str, Tokenizer]) -> None:
    """OpenAI's form for what is no character; words stay words."""
    smile = "😀".encode()
    byte_ids = {
        "demo": served["demo"].encode_text("😀"),
        "llama": [len(SPECIAL) + byte for byte in smile],
    }
    for kind, ids in byte_ids.items():
        tokens = served[kind].token_bytes
        assert [tokens.bytes_in(TextSoFar(), i) for i in ids] == [[byte] for byte in smile]
        assert [tokens.name(i) for i in ids] == [f"bytes:\\x{byte:02x}" for byte in smile]
    (word,) = served["demo"].encode_text(" the")
    assert served["demo"].token_bytes.name(word) == " the"


def test_what_ends_an_answer_has_no_bytes(served: dict[str, Tokenizer]) -> None:
    tokenizer = served["demo"]
    token_ids = tokenizer.encode_text("so it ends")
    said, entries = answer(tokenizer, token_ids, reason="stop")
    assert entries[-1]["bytes"] is None
    assert entries[-1]["top_logprobs"][0]["bytes"]
    assert joined(entries) == said.encode() != b"so it ends"


def test_prompts_tokens_are_told_apart(served: dict[str, Tokenizer]) -> None:
    tokenizer = served["demo"]
    token_ids = tokenizer.encode_text("😀")
    params = SamplingParams(max_tokens=1, prompt_logprobs=0)
    state = RequestState(EngineRequest("r", token_ids, params, [], [], 0.0), tokenizer)
    each: list[TokenLogprobs | None] = [TokenLogprobs(-1.0, 1, [], [])]
    logprobs = [None, *each * (len(token_ids) - 1)]
    state.update(EngineOutput("r", 0, [5], finish_reason="length", prompt_logprobs=logprobs))
    body = ChatResponses("r", "model", tokenizer, plain).completion(state.to_output())
    decoded = [
        entry[str(token_id)]["decoded_token"]
        for token_id, entry in zip(token_ids[1:], body["prompt_logprobs"][1:], strict=True)
    ]
    assert decoded == [f"bytes:\\x{byte:02x}" for byte in "😀".encode()[1:]]
