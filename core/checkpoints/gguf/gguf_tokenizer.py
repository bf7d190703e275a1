"""The tokenizer that a GGUF file describes, in the form of `tokenizer.json`.

Whatever is not known refuses the file: every prompt would be read as other tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from ...contracts.specs import JsonDict
from ...protocol.config import ConfigError
from .gguf_kinds import brief
from .gguf_metadata import GgufMetadata
from .gguf_splits import AS_GPT2, SPLITS

_GGML = "tokenizer.ggml."
#: Families whose tokenizers don't prepend a space.
_WITHOUT_PREFIX = ("gemma", "gemma2", "gemma3")
#: Types of tokens.
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4
_SPACE = "▁"
#: The key of each name that chat templates have.
_NAMED = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}
#: Tokens that are special in a family whether the file says so or not.
_BYTE_LEVEL_SPECIAL = ("<|endoftext|>",)
_LLAMA_SPECIAL = ("<unk>", "<s>", "</s>")
_GEMMA_SPECIAL = ("<unk>", "<bos>", "<eos>", "<pad>", "<mask>")
_TO_SPACES = [
    {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
    {"type": "ByteFallback"},
    {"type": "Fuse"},
]
_FROM_SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}


def check_tokenizer(metadata: GgufMetadata) -> None:
    """Raises ConfigError that names the key at fault."""
    model, way = _get(metadata, "model", str, None), _get(metadata, "pre", str, "default")
    if model is None:
        raise _missing("model")
    if model not in ("gpt2", "llama"):
        raise _refused("model", model)
    if model == "gpt2" and way not in AS_GPT2 | SPLITS.keys():
        raise _refused("pre", way)
    prefix = metadata.others.get(f"{_GGML}add_space_prefix")
    makes_prefix = metadata.architecture not in _WITHOUT_PREFIX
    # Phi-3's files don't agree with their models, whose tokenizers all begin with a space.
    if model == "llama" and metadata.architecture != "phi3" and prefix not in (None, makes_prefix):
        raise _refused("add_space_prefix", prefix)
    _named_tokens(metadata, _tokens(metadata))


def tokenizer_parts(metadata: GgufMetadata) -> JsonDict:
    """As `tokenizer` in transformers_answers.py gives them. metadata: checked.

    Raises ConfigError that names the key at fault.
    """
    special: tuple[str, ...]
    if metadata.others[f"{_GGML}model"] == "gpt2":
        backend, special, adds_bos = _byte_level(metadata), _BYTE_LEVEL_SPECIAL, False
    elif metadata.architecture in _WITHOUT_PREFIX:
        backend, special, adds_bos = _gemma(metadata), _GEMMA_SPECIAL, True
    elif metadata.architecture == "phi3":
        backend, special, adds_bos = _phi3(metadata), _LLAMA_SPECIAL, True
    else:
        backend, special, adds_bos = _llama(metadata), _LLAMA_SPECIAL, True
    tokens = _tokens(metadata)
    named = _named_tokens(metadata, tokens)
    bos = named.get("bos_token") if _get(metadata, "add_bos_token", bool, adds_bos) else None
    eos = named.get("eos_token") if _get(metadata, "add_eos_token", bool, False) else None
    ids: dict[str, int] = backend["model"]["vocab"]
    backend["added_tokens"] = _added_tokens(metadata, ids, {*special, *named.values()})
    # Not those of the model, which may spell its tokens in another way.
    stated = {text: token_id for token_id, text in enumerate(tokens)}
    backend["post_processor"] = _frame(bos, eos, stated) if bos or eos else None
    template = metadata.others.get("tokenizer.chat_template")
    if not isinstance(template, str | None):
        raise ConfigError("the GGUF file's tokenizer.chat_template is no text")
    return {
        "backend": json.dumps({"version": "1.0", "truncation": None, "padding": None, **backend}),
        "special_tokens": named,
        "chat_template": template,
        "is_plain": True,
    }


def _byte_level(metadata: GgufMetadata) -> dict[str, Any]:
    """GPT-2's: letters stand for bytes."""
    tokens = _tokens(metadata)
    split = SPLITS.get(_get(metadata, "pre", str, "default"))
    letters = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    pre_tokenizer: JsonDict = {**letters, "use_regex": True}
    if split is not None:
        first = {"type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated"}
        parts = [{**first, "invert": False}, {**letters, "use_regex": False}]
        pre_tokenizer = {"type": "Sequence", "pretokenizers": parts}
    return {
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer,
        "decoder": {**letters, "use_regex": True},
        "model": _model(tokens, _stated_merges(metadata, tokens)),
    }


def _llama(metadata: GgufMetadata) -> dict[str, Any]:
    """SentencePiece's: spaces are marks, one comes before the text, and what no token spells is
    spelt in bytes."""
    tokens = _tokens(metadata)
    if f"{_GGML}merges" in metadata.others:
        merges = _stated_merges(metadata, tokens)
    else:
        merges = _merges(dict(zip(tokens, _numbers(metadata, "scores", tokens), strict=True)))
    marks = {"type": "Metaspace", "replacement": _SPACE}
    return {
        "normalizer": None,
        "pre_tokenizer": {**marks, "prepend_scheme": "first", "split": False},
        "decoder": _decoder({"type": "Strip", "content": " ", "start": 1, "stop": 0}),
        "model": _model(tokens, merges, fuse_unk=True, byte_fallback=True),
    }


def _phi3(metadata: GgufMetadata) -> dict[str, Any]:
    """Llama's, but each part between special tokens is prepended a space."""
    before = {"type": "Prepend", "prepend": _SPACE}
    normalizer = {"type": "Sequence", "normalizers": [before, _FROM_SPACES]}
    return {**_llama(metadata), "normalizer": normalizer, "pre_tokenizer": None}


def _gemma(metadata: GgufMetadata) -> dict[str, Any]:
    """Without a space before the text. Merges follow the order of tokens, not their scores."""
    tokens = [_SPACE * len(text) if text.strip(" ") == "" else text for text in _tokens(metadata)]
    if f"{_GGML}merges" in metadata.others:
        merges = _stated_merges(metadata, tokens)
    else:
        merges = _merges({text: -place for place, text in enumerate(tokens)})
    words = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious"}
    unknown = "<unk>" if "<unk>" in tokens else None
    return {
        "normalizer": _FROM_SPACES,
        "pre_tokenizer": {**words, "invert": False},
        "decoder": _decoder(),
        "model": _model(tokens, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True),
    }


def _decoder(*last: JsonDict) -> JsonDict:
    return {"type": "Sequence", "decoders": [*_TO_SPACES, *last]}


def _model(tokens: Sequence[str], merges: Sequence[tuple[str, str]], **options: Any) -> JsonDict:
    ids = {text: token_id for token_id, text in enumerate(tokens)}
    return {"type": "BPE", "vocab": ids, "merges": merges, **options}


def _merges(scores: Mapping[str, float]) -> list[tuple[str, str]]:
    """All ways to make a token of two others, those of the best token first."""
    ways = [
        (score, cut, len(text) - cut, text[:cut], text[cut:])
        for text, score in scores.items()
        for cut in range(1, len(text))
        if text[:cut] in scores and text[cut:] in scores
    ]
    ways.sort(key=itemgetter(0, 1, 2), reverse=True)
    return [(left, right) for _, _, _, left, right in ways]


def _stated_merges(metadata: GgufMetadata, tokens: Sequence[str]) -> list[tuple[str, str]]:
    known = frozenset(tokens)
    merges = []
    for text in _list(metadata, "merges", str):
        left, _, right = text.partition(" ")
        if left not in known or right not in known or left + right not in known:
            raise ConfigError(
                f"the GGUF file's {_GGML}merges holds {brief(text)}, which doesn't make a token "
                "of two others"
            )
        merges.append((left, right))
    return merges


def _added_tokens(
    metadata: GgufMetadata, ids: Mapping[str, int], special: set[str]
) -> list[JsonDict]:
    """Tokens that are found in a text before it is split. special: some that are."""
    tokens = _tokens(metadata)
    kinds: Sequence[float] = ()
    if f"{_GGML}token_type" in metadata.others:
        kinds = _numbers(metadata, "token_type", tokens)
    special |= {
        text for text, kind in zip(tokens, kinds, strict=False) if kind in (_UNKNOWN, _CONTROL)
    }
    plain = {text for text, kind in zip(tokens, kinds, strict=False) if kind == _USER_DEFINED}
    found = sorted((ids[text], text) for text in special | plain if text and text in ids)
    options = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return [
        {"id": token_id, "content": text, **options, "special": text in special}
        for token_id, text in found
    ]


def _frame(bos: str | None, eos: str | None, ids: Mapping[str, int]) -> JsonDict:
    """Tokens around each text."""

    def framed(text: str, number: int) -> list[JsonDict]:
        begin, end = (
            [{"SpecialToken": {"id": token, "type_id": number}}] if token else []
            for token in (bos, eos)
        )
        return [*begin, {"Sequence": {"id": text, "type_id": number}}, *end]

    used = {token: ids[token] for token in (bos, eos) if token}
    return {
        "type": "TemplateProcessing",
        "single": framed("A", 0),
        "pair": framed("A", 0) + framed("B", 1),
        "special_tokens": {
            token: {"id": token, "ids": [token_id], "tokens": [token]}
            for token, token_id in used.items()
        },
    }


def _named_tokens(metadata: GgufMetadata, tokens: Sequence[str]) -> dict[str, str]:
    named = {}
    for name, key in _NAMED.items():
        token_id = _get(metadata, key, int, None)
        if token_id is not None and token_id >= len(tokens):
            raise ConfigError(
                f"the GGUF file's {_GGML}{key} = {token_id}, but there are {len(tokens)} tokens"
            )
        if token_id is not None:
            named[name] = tokens[token_id]
    return named


def _tokens(metadata: GgufMetadata) -> list[str]:
    return _list(metadata, "tokens", str)


def _numbers(metadata: GgufMetadata, name: str, tokens: Sequence[str]) -> list[float]:
    """One for each token."""
    values = _list(metadata, name, int | float)
    if len(values) != len(tokens):
        raise ConfigError(
            f"the GGUF file's {_GGML}{name} has {len(values)} values for {len(tokens)} tokens"
        )
    return values


def _list(metadata: GgufMetadata, name: str, kind: Any) -> list[Any]:
    values: list[Any] | None = _get(metadata, name, list, None)
    if values is None:
        raise _missing(name)
    # An array's values are of one type.
    if values and not isinstance(values[0], kind):
        raise _refused(name, values)
    return values


def _get(metadata: GgufMetadata, name: str, kind: type, default: Any) -> Any:
    value = metadata.others.get(f"{_GGML}{name}", default)
    if value is not default and not isinstance(value, kind):
        raise _refused(name, value)
    return value


def _missing(name: str) -> ConfigError:
    return ConfigError(f"the GGUF file has no {_GGML}{name}")


def _refused(name: str, value: object) -> ConfigError:
    return ConfigError(
        f"the GGUF file's {_GGML}{name} = {brief(value)} is not supported: prompts would be read "
        "as other tokens; serve the model's folder in Hugging Face format instead"
    )
