"""What the values of those keys of a GGUF file must be that are computed with."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from ...contracts.specs import JsonDict
from ...protocol.config import ConfigError


class _Kind(NamedTuple):
    described: str
    holds: Callable[[Any], bool]


def _is_whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _lists(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(holds, value))


def _is_pattern(value: Any) -> bool:
    return _is_whole(value) or _lists(lambda item: type(item) is bool)(value)


_SIZE = _Kind("a whole number above 0", lambda value: _is_whole(value) and value > 0)
_WHOLE = _Kind("a whole number", _is_whole)
_WHOLES = _Kind("a list of whole numbers", _lists(_is_whole))
_ABOVE_0 = _Kind("a number above 0", lambda value: _is_number(value) and value > 0)
_NUMBER = _Kind("a number", _is_number)
_PATTERN = _Kind("a whole number, or a list of flags", _is_pattern)

#: By patterns of keys, those of an architecture without its name.
_KINDS = {
    r"(context|embedding|feed_forward)_length|block_count|vocab_size": _SIZE,
    r"attention\.(head_count(_kv)?|(key|value)_length)|rope\.dimension_count": _SIZE,
    r"attention\.sliding_window|rope\.scaling\.original_context_length": _WHOLE,
    r"attention\.(layer_norm_(rms_)?epsilon|scale)|rope\.freq_base(_swa)?": _ABOVE_0,
    r"rope\.scale_linear|rope\.scaling\.(factor|attn_factor|yarn_.*)": _NUMBER,
    r"(attn|final)_logit_softcapping|general\.sampling\..*": _NUMBER,
    r"attention\.sliding_window_pattern": _PATTERN,
    r"rope\.dimension_sections|tokenizer\.ggml\.eos_token_ids": _WHOLES,
    r"tokenizer\.ggml\..*_token_id": _WHOLE,
}


def check_kinds(keys: JsonDict, architecture: str) -> None:
    """Raises ConfigError that names the key for a value of another kind."""
    for key, value in keys.items():
        name = key.removeprefix(f"{architecture}.")
        for pattern, kind in _KINDS.items():
            if re.fullmatch(pattern, name) and not kind.holds(value):
                raise ConfigError(
                    f"the GGUF file's {key} = {brief(value)} is not supported: it must be "
                    f"{kind.described}"
                )


def brief(value: Any) -> str:
    """For messages."""
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
