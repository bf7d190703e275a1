"""Tokens as bytes and names: those of a text join to its UTF-8, and no two tokens are alike."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from octavo.app import DEMO_MODEL
from octavo.app.http.chat_response import ChatResponses, ChunkCursor
from octavo.core.checkpoints.checkpoint import Checkpoint
from octavo.core.client.request_state import RequestState
from octavo.core.prompts.token_bytes import TextSoFar
from octavo.core.prompts.tokenizer import Tokenizer
from octavo.core.protocol.messages import EngineOutput, EngineRequest, TokenLogprobs
from octavo.core.protocol.sampling_params import SamplingParams
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as BackendTokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

CORPUS = [
    "The café's menu isn't long. It says: 'naïve' déjà vu, 日本語 and 漢字!",
    "a b  c   d, e. f? g! h",
    "e\u0301 o\u0308 a\u0328 combining; 你好，世界 😀 smiles 👨‍👩‍👧 family",
    "def f(x):\n    return x ** 2\n",
]
ALPHABET = "aetx ,.'!?  \n1é日本你好😀👨‍👩‍👧e\u0301\u0308ﬁ\u2581Ġ"
SPECIAL = ["<s>", "</s>", "<unk>"]


def byte_level() -> BackendTokenizer:
    backend = BackendTokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer: Any = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=letters, show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    # As GPT-NeoX's, whose text is also that of "ĠĠ".
    backend.add_tokens([AddedToken("  ", normalized=False), AddedToken("<tool>", normalized=False)])
    return backend


def byte_fallback(decoder: Any) -> BackendTokenizer:
    """As SentencePiece's models of Llama and Gemma: spaces are "▁", and unknown letters bytes."""
    source = BackendTokenizer(models.BPE())
    source.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    trainer: Any = trainers.BpeTrainer(vocab_size=120, show_progress=False)
    source.train_from_iterator([CORPUS[0], CORPUS[1]], trainer)
    model = json.loads(source.to_str())["model"]
    entries = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    vocabulary = {entry: i for i, entry in enumerate([*entries, *model["vocab"]])}
    merges = [(left, right) for left, right in model["merges"]]
    backend = BackendTokenizer(
        models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    backend.add_special_tokens(SPECIAL)
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoder
    return backend


def llama() -> BackendTokenizer:
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    return byte_fallback(decoders.Sequence([*parts, decoders.Strip(" ", 1, 0)]))


def gemma() -> BackendTokenizer:
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    return byte_fallback(decoders.Sequence(parts))


def metaspace() -> BackendTokenizer:
    return byte_fallback(decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()]))


def wordpiece() -> BackendTokenizer:
    backend = BackendTokenizer(models.WordPiece(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    trainer: Any = trainers.WordPieceTrainer(
        vocab_size=200, special_tokens=SPECIAL, show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    # What the decoder writes as it writes ".".
    backend.add_tokens(["##."])
    return backend


def word_ends() -> BackendTokenizer:
    """As GPT-1's: whether a space comes first is said by the token before."""
    backend = BackendTokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer: Any = trainers.BpeTrainer(
        vocab_size=200, special_tokens=SPECIAL, end_of_word_suffix="</w>", show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    return backend


KINDS = {
    make.__name__: make for make in (byte_level, llama, gemma, metaspace, wordpiece, word_ends)
}
TIDIED = "wordpiece, tidied"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tokenizer of each kind in Hugging Face format."""
    made = {"demo": Path(DEMO_MODEL)}
    for name in (*KINDS, TIDIED):
        folder = tmp_path_factory.mktemp("tokenizer")
        make = KINDS.get(name, wordpiece)
        PreTrainedTokenizerFast(
            tokenizer_object=make(),
            bos_token="<s>",
            eos_token="</s>",
            unk_token="<unk>",
            clean_up_tokenization_spaces=name == TIDIED,
        ).save_pretrained(folder)
        made[name] = folder
    return made


@pytest.fixture(scope="module")
def served(folders: dict[str, Path]) -> dict[str, Tokenizer]:
    """Octavo's tokenizers of each kind."""
    return {name: Tokenizer(Checkpoint(name, folder)) for name, folder in folders.items()}


ALL = pytest.mark.parametrize("kind", ["demo", *KINDS, TIDIED])


def answer(
    tokenizer: Tokenizer, token_ids: Sequence[int], reason: str = "length"
) -> tuple[str, list[dict[str, Any]]]:
    """The text and the log-probabilities' tokens of an answer, streamed token by token; every
    token is also the likeliest other one. Whole and in chunks they are the same."""
    params = SamplingParams(max_tokens=None, logprobs=1)
    state = RequestState(EngineRequest("r", [1], params, [], [], 0.0), tokenizer)
    responses = ChatResponses("r", "model", tokenizer)
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
    body = ChatResponses("r", "model", tokenizer).completion(state.to_output())
    decoded = [
        entry[str(token_id)]["decoded_token"]
        for token_id, entry in zip(token_ids[1:], body["prompt_logprobs"][1:], strict=True)
    ]
    assert decoded == [f"bytes:\\x{byte:02x}" for byte in "😀".encode()[1:]]
