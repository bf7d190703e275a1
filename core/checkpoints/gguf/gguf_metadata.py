"""Metadata of a GGUF file, each key and tensor of which is used, harmless or refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, MODEL_ARCH_NAMES, GGMLQuantizationType, dequantize

from ...contracts.specs import JsonDict
from ...protocol.config import ConfigError
from .gguf_file import GgufFile
from .gguf_kinds import brief, check_kinds

#: Tensors of factors of rotary positions: Llama 3.1's, and LongRoPE's for texts within and beyond
#: the trained length.
FREQUENCY_FACTORS = "rope_freqs.weight"
LONG_FACTORS, SHORT_FACTORS = "rope_factors_long.weight", "rope_factors_short.weight"
FACTOR_TENSORS = frozenset([FREQUENCY_FACTORS, LONG_FACTORS, SHORT_FACTORS])

#: Keys other than the architecture's own that transformers' tokenizer or we use, or that only
#: describe the file.
_KNOWN = re.compile(
    r"general\..*|imatrix\..*|quantize\..*|split\.(no|tensors\.count)"
    r"|tokenizer\.chat_templates?(\..*)?|tokenizer\.huggingface\.json"
    r"|tokenizer\.ggml\.(model|pre|tokens|scores|token_type|token_type_count|merges"
    r"|precompiled_charsmap|add_space_prefix|add_bos_token|add_eos_token"
    r"|(bos|eos|eot|eom|unknown|padding|seperator|cls|mask|prefix|suffix|middle)_token_id"
    r"|eos_token_ids|fim_(pre|suf|mid|pad|rep|sep)_token_id)"
)
#: Beginnings that programs give a meaning to; under others, makers of files leave notes.
_SPACES = frozenset(["adapter", "clip", "split", "tokenizer", *MODEL_ARCH_NAMES.values()])
#: Keys that describe the model, under any prefix.
_OF_A_MODEL = re.compile(r"(.*\.)?(attention|rope|ssm)\..*|.*[._]scale|(.*\.)?expert_.*")
#: Values at which others change nothing.
_HARMLESS: dict[str, Callable[[Any], bool]] = {
    "split.count": lambda value: value in (0, 1),
    "tokenizer.ggml.add_sep_token": lambda value: value is False,
    "tokenizer.ggml.escape_whitespaces": lambda value: value is True,
    "tokenizer.ggml.remove_extra_whitespaces": lambda value: value is False,
}


class GgufMetadata:
    """The keys and tensors of a file.

    architecture: by llama.cpp's name. fields: the architecture's own keys, without its name.
    others: all other keys. tensor_names: of all tensors.

    types: what `general.type` may be. Raises ConfigError, naming it, for a key outside the
    architecture's own that is neither used nor harmless, for a value of another kind than its key
    has, and for a type of tensors that can't be dequantised.
    """

    def __init__(self, file: GgufFile, types: Sequence[str] = ("model",)) -> None:
        self.architecture = str(file.keys.get("general.architecture"))
        prefix = f"{self.architecture}."
        self.fields: JsonDict = {
            key.removeprefix(prefix): value
            for key, value in file.keys.items()
            if key.startswith(prefix)
        }
        self.others: JsonDict = {
            key: value for key, value in file.keys.items() if not key.startswith(prefix)
        }
        check_kinds(file.keys, self.architecture)
        for key, value in self.others.items():
            _check(key, value)
        kind = file.keys.get("general.type", types[0])
        if kind not in types:
            raise ConfigError(f"the GGUF file's general.type = {brief(kind)} is not supported")
        for kind, name in {tensor.kind: name for name, tensor in file.tensors.items()}.items():
            _check_type(name, kind)
        self.tensor_names = list(file.tensors)
        self._tensors = file.tensors

    def has_tensor(self, pattern: str) -> bool:
        """Whether there is one whose name is this, or of this pattern."""
        return any(re.fullmatch(pattern, name) for name in self.tensor_names)

    def has_token(self, text: str) -> bool:
        """Whether the vocabulary has one."""
        return text in self._token_ids

    def token_id(self, text: str) -> int:
        """Raises ConfigError if the vocabulary has no such token."""
        if text not in self._token_ids:
            raise ConfigError(
                f"the GGUF file's tokenizer.ggml.tokens has no {text}, by which pictures are shown "
                "to its model"
            )
        return self._token_ids[text]

    def factors(self, name: str) -> list[float]:
        """The values of one of FACTOR_TENSORS. Raises ConfigError if there is none."""
        if name not in self._tensors:
            raise ConfigError(f"the GGUF file has no tensor {name}")
        tensor = self._tensors[name]
        values: list[float] = dequantize(tensor.data, tensor.kind).tolist()
        return values

    @cached_property
    def _token_ids(self) -> dict[str, int]:
        tokens = self.others.get("tokenizer.ggml.tokens") or []
        return {text: number for number, text in enumerate(tokens)}


def _check(key: str, value: Any) -> None:
    harmless = _HARMLESS.get(key)
    if harmless is None and (_KNOWN.fullmatch(key) or _is_note(key)):
        return
    if harmless is not None and harmless(value):
        return
    if key == "split.count":
        raise ConfigError(
            f"the GGUF file is one of {value} parts ({key}); merge them first, with "
            "llama-gguf-split --merge"
        )
    raise ConfigError(f"the GGUF file's {key} = {brief(value)} is not supported")


def _is_note(key: str) -> bool:
    space, _, rest = key.partition(".")
    return space not in _SPACES and not _OF_A_MODEL.fullmatch(rest)


def _check_type(name: str, kind: GGMLQuantizationType) -> None:
    try:
        dequantize(np.zeros((1, GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
    except NotImplementedError as error:
        raise ConfigError(
            f"the GGUF file's tensor {name} is in {kind.name}, which is not supported"
        ) from error
