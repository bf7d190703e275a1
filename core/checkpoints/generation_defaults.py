"""Defaults of requests from a checkpoint's `generation_config.json`, and its fields that are not
honoured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..contracts.specs import JsonDict
from ..protocol.config import ConfigError
from ..protocol.request_error import RequestError
from ..protocol.sampling_params import SamplingParams
from .ask_transformers import ask

#: Fields that SamplingParams has under the same name, of which the first ones are about drawing.
_DRAWING = ("temperature", "top_k", "top_p", "min_p")
_SAME = (*_DRAWING, "repetition_penalty")
#: Fields that are honoured in another way.
_HONOURED = {
    *_SAME,
    "bad_words_ids",
    "do_sample",
    "eos_token_id",
    "max_new_tokens",
    "stop_strings",
    "suppress_tokens",
}
#: Fields that transformers samples with only if `do_sample` is set.
_DRAWING_ONLY = {"typical_p", "epsilon_cutoff", "eta_cutoff", "top_h"}
#: Fields that change how generate computes, but not its result, or that the engine decides.
_HARMLESS = {
    "assistant_confidence_threshold",
    "assistant_early_exit",
    "assistant_ensemble_weight",
    "assistant_lookbehind",
    "bos_token_id",
    "cache_config",
    "cache_implementation",
    "compile_config",
    "continuous_batching_config",
    "decoder_start_token_id",
    "disable_compile",
    "is_assistant",
    "low_memory",
    "max_cache_len",
    "max_matching_ngram_size",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "output_attentions",
    "output_hidden_states",
    "output_logits",
    "output_scores",
    "pad_token_id",
    "prefill_chunk_size",
    "prompt_lookup_num_tokens",
    "return_dict_in_generate",
    "speculation_type",
    "target_lookbehind",
    "transformers_version",
    "use_cache",
    "use_mtp",
}
#: Values at which a field changes nothing; so do absent fields.
_NEUTRAL: Mapping[str, Any] = {
    "diversity_penalty": 0.0,
    "early_stopping": False,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "length_penalty": 1.0,
    "max_length": 20,
    "min_length": 0,
    "min_new_tokens": 0,
    "no_repeat_ngram_size": 0,
    "num_beam_groups": 1,
    "num_beams": 1,
    "num_return_sequences": 1,
    "remove_invalid_values": False,
    "renormalize_logits": False,
    "token_healing": False,
    "typical_p": 1.0,
}


@dataclass(frozen=True)
class GenerationDefaults:
    """sampling: fields of SamplingParams for requests that don't name them.
    max_new_tokens: of an answer whose request gives no limit.
    not_honoured: fields of the file that transformers' generate would follow.
    """

    sampling: dict[str, Any]
    max_new_tokens: int | None
    not_honoured: list[str]

    @classmethod
    def read(cls, config: JsonDict) -> GenerationDefaults:
        """Raises ConfigError for a value that no request could have."""
        sampling = {name: config[name] for name in _SAME if config.get(name) is not None}
        if config.get("do_sample") is False:
            for name in _DRAWING:
                sampling.pop(name, None)
            sampling["temperature"] = 0.0
        stop = config.get("stop_strings")
        if stop:
            sampling["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
        # As generate does, which lets an answer end whatever is said of its words.
        ends = _as_list(config.get("eos_token_id"))
        banned = [ids for ids in config.get("bad_words_ids") or () if ids not in ends]
        banned += [[token_id] for token_id in config.get("suppress_tokens") or ()]
        if banned:
            sampling["bad_words_ids"] = tuple(tuple(ids) for ids in banned)
        limit = config.get("max_new_tokens")
        try:
            SamplingParams(**{**sampling, "max_tokens": limit})
        except (RequestError, TypeError) as error:
            raise ConfigError(f"generation_config.json: {error}; correct it there") from error
        if limit is not None:
            # SamplingParams' own default must not override the limit.
            sampling["max_tokens"] = None
        return cls(sampling, limit, sorted(_not_honoured(config)))


def _as_list(eos_token_id: Any) -> list[list[int]]:
    ids = [eos_token_id] if isinstance(eos_token_id, int) else eos_token_id or ()
    return [[token_id] for token_id in ids]


def _not_honoured(config: JsonDict) -> list[str]:
    """Fields that generate knows; what it doesn't know, it skips too."""
    ignored = _HONOURED | _HARMLESS
    if config.get("do_sample") is False:
        ignored |= _DRAWING_ONLY
    unheard = [
        name
        for name, value in config.items()
        if name not in ignored and value is not None and value != _NEUTRAL.get(name)
    ]
    if not unheard:
        return []
    known = ask("generation_fields", {})["names"]
    return [name for name in unheard if name in known]
