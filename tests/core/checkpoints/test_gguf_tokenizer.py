"""The tokenizer of a GGUF file reads and writes all texts as the one that transformers makes of
the same file, and what can't be one is refused by the name of the key."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFValueType, GGUFWriter, TokenType
from octavo.app import DEMO_MODEL
from octavo.core.checkpoints.gguf.gguf_file import read_gguf
from octavo.core.checkpoints.gguf.gguf_metadata import GgufMetadata
from octavo.core.checkpoints.gguf.gguf_tokenizer import check_tokenizer, tokenizer_parts
from octavo.core.protocol.config import ConfigError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer
from varied_text import varied_text

SPECIAL = ["<unk>", "<s>", "</s>"]
#: Sizes that a config needs.
SIZES = {
    "context_length": 64,
    "embedding_length": 8,
    "block_count": 1,
    "feed_forward_length": 8,
    "attention.head_count": 1,
    "attention.head_count_kv": 1,
    "attention.layer_norm_rms_epsilon": 1e-5,
}


def write(path: Path, architecture: str, model: str, keys: dict[str, Any]) -> Path:
    """A file of no weights but one. keys: after tokenizer.ggml."""
    writer = GGUFWriter(path, architecture)
    for key, value in SIZES.items():
        writer.add_key_value(f"{architecture}.{key}", value, GGUFValueType.get_type(value))
    for key, value in {"model": model, **keys}.items():
        writer.add_key_value(f"tokenizer.ggml.{key}", value, GGUFValueType.get_type(value))
    writer.add_tensor("token_embd.weight", np.zeros((len(keys["tokens"]), 8), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@cache
def byte_level() -> dict[str, Any]:
    """The demo model's vocabulary, a control token after it, and one that is found whole."""
    stored = Tokenizer.from_file(str(Path(DEMO_MODEL, "tokenizer.json")))
    added = {token.content for token in stored.get_added_tokens_decoder().values()}
    ids = stored.get_vocab()
    tokens = [*sorted(ids, key=ids.__getitem__), "<|tool|>", "<think>", "[PAD9]"]
    kinds = [TokenType.CONTROL if text in added else TokenType.NORMAL for text in tokens]
    kinds[-3:] = TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNUSED
    merges = json.loads(stored.to_str())["model"]["merges"]
    return {
        "tokens": tokens,
        "token_type": list(map(int, kinds)),
        "merges": [" ".join(merge) for merge in merges],
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


@cache
def sentencepiece() -> dict[str, Any]:
    """A vocabulary as SentencePiece makes them: with bytes, and scores in place of merges."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trained.decoder = decoders.Metaspace()
    trained.train_from_iterator(
        varied_text(), trainers.BpeTrainer(vocab_size=3000, show_progress=False, max_token_length=9)
    )
    ids = trained.get_vocab()
    learnt = sorted(ids, key=lambda text: (len(text) == 1, ids[text]))
    spaces = ["  ", "   "]
    octets = [f"<0x{octet:02X}>" for octet in range(256)]
    tokens = [*SPECIAL, *octets, *spaces, *learnt, "<x>", "<think>"]
    kinds = [TokenType.NORMAL] * len(tokens)
    kinds[:3] = TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL
    kinds[3:259] = [TokenType.BYTE] * 256
    kinds[259:261] = [TokenType.USER_DEFINED] * 2
    kinds[-2:] = TokenType.CONTROL, TokenType.USER_DEFINED
    return {
        "tokens": tokens,
        "token_type": list(map(int, kinds)),
        "scores": [0.0] * 261 + [float(-place) for place in range(len(tokens) - 261)],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
    }


#: By name: architecture, kind of tokenizer, the vocabulary, and what the file says besides.
KINDS: dict[str, tuple[str, str, Callable[[], dict[str, Any]], dict[str, Any]]] = {
    "gpt-2": ("llama", "gpt2", byte_level, {"pre": "gpt-2"}),
    "no pre": ("qwen2", "gpt2", byte_level, {"add_bos_token": False}),
    "smollm": ("llama", "gpt2", byte_level, {"pre": "smollm", "add_bos_token": True}),
    "llama-bpe": ("llama", "gpt2", byte_level, {"pre": "llama-bpe", "add_bos_token": True}),
    "qwen2": ("qwen2", "gpt2", byte_level, {"pre": "qwen2", "padding_token_id": 0}),
    "qwen35": ("qwen3", "gpt2", byte_level, {"pre": "qwen35", "add_eos_token": True}),
    "tekken": ("llama", "gpt2", byte_level, {"pre": "tekken"}),
    "gpt-4o": ("phi3", "gpt2", byte_level, {"pre": "gpt-4o"}),
    "llama": ("llama", "llama", sentencepiece, {}),
    "llama, framed": (
        "llama",
        "llama",
        sentencepiece,
        {"add_bos_token": False, "add_eos_token": True, "add_space_prefix": True},
    ),
    "phi3": ("phi3", "llama", sentencepiece, {"add_space_prefix": False}),
    "gemma2": ("gemma2", "llama", sentencepiece, {"add_space_prefix": False}),
    "gemma3": ("gemma3", "llama", sentencepiece, {"add_bos_token": True, "padding_token_id": 0}),
}


def parts_of(path: Path) -> dict[str, Any]:
    metadata = GgufMetadata(read_gguf(path))
    check_tokenizer(metadata)
    return dict(tokenizer_parts(metadata))


@pytest.mark.parametrize("name", KINDS)
def test_equal_to_transformers(name: str, tmp_path: Path) -> None:
    architecture, model, vocabulary, keys = KINDS[name]
    path = write(tmp_path / "t.gguf", architecture, model, {**vocabulary(), **keys})
    expected = AutoTokenizer.from_pretrained(tmp_path, gguf_file=path.name)
    parts = parts_of(path)
    made = Tokenizer.from_str(parts["backend"])
    for special, text in parts["special_tokens"].items():
        assert getattr(expected, special) == text
    size = made.get_vocab_size()
    assert size == len(vocabulary()["tokens"])
    for add in (True, False):
        encoded = [e.ids for e in made.encode_batch(varied_text(), add_special_tokens=add)]
        stated = expected(varied_text(), add_special_tokens=add)["input_ids"]
        assert encoded == stated
    generator = random.Random(1)
    answers = [*stated, *(generator.choices(range(size), k=50) for _ in range(50))]
    for skip in (True, False):
        decoded = made.decode_batch(answers, skip_special_tokens=skip)
        assert decoded == expected.batch_decode(answers, skip_special_tokens=skip)


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "another kind": ("rwkv", {}, r"tokenizer\.ggml\.model = 'rwkv'"),
    "another split": ("gpt2", {"pre": "deepseek-v3"}, r"tokenizer\.ggml\.pre = 'deepseek-v3'"),
    "a prefix": ("llama", {"add_space_prefix": False}, r"add_space_prefix = False"),
    "no such token": ("llama", {"bos_token_id": 99}, r"bos_token_id = 99, but there are 5 tokens"),
    "a name for an id": ("llama", {"bos_token_id": "<s>"}, r"bos_token_id = '<s>'.*whole number"),
    "numbers as tokens": ("llama", {"tokens": [1, 2, 3]}, r"tokenizer\.ggml\.tokens = \[1, 2, 3\]"),
    "a text of tokens": ("llama", {"tokens": "abc"}, r"tokenizer\.ggml\.tokens = 'abc'"),
    "few scores": ("llama", {"scores": [0.0, 1.0]}, "scores has 2 values for 5 tokens"),
    "few types": ("llama", {"token_type": [1]}, "token_type has 1 values for 5 tokens"),
    "a merge of one": ("gpt2", {"merges": ["a"]}, r"merges holds 'a', which"),
    "a merge of three": ("gpt2", {"merges": ["a b ab"]}, r"merges holds 'a b ab', which"),
    "a merge of strangers": ("gpt2", {"merges": ["ab ab"]}, r"merges holds 'ab ab', which"),
    "no merges": ("gpt2", {}, r"has no tokenizer\.ggml\.merges"),
    "a flag that is none": ("llama", {"add_bos_token": "yes"}, r"add_bos_token = 'yes'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_be_a_tokenizer_is_named(name: str, tmp_path: Path) -> None:
    model, keys, message = REFUSED[name]
    tokens = {"tokens": ["<s>", "a", "b", "ab", "▁"], "scores": [0.0] * 5}
    path = write(tmp_path / "bad.gguf", "llama", model, {**tokens, **keys})
    with pytest.raises(ConfigError, match=message):
        parts_of(path)


def test_a_special_token_of_any_letters_is_found_whole(tmp_path: Path) -> None:
    """As DeepSeek's are, whose letters don't stand for bytes."""
    text = "<｜User｜>"
    keys = {"tokens": ["a", "b", "ab", text], "token_type": [1, 1, 1, 3], "merges": ["a b"]}
    path = write(tmp_path / "t.gguf", "qwen2", "gpt2", {**keys, "pre": "deepseek-r1-qwen"})
    made = Tokenizer.from_str(parts_of(path)["backend"])
    assert made.encode(f"ab{text}ab").ids == [2, 3, 2]
    assert made.decode([2, 3], skip_special_tokens=False) == f"ab{text}"


def test_a_named_token_may_be_one_of_spaces(tmp_path: Path) -> None:
    """Gemma's are spelt in marks."""
    keys = {"tokens": ["a", "  ", "<unk>"], "scores": [0.0] * 3, "bos_token_id": 1}
    parts = parts_of(write(tmp_path / "t.gguf", "gemma2", "llama", keys))
    assert Tokenizer.from_str(parts["backend"]).encode("a").ids == [1, 0]
