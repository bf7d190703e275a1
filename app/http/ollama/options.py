"""Every field of `options` in requests of Ollama's API; docs/api.md lists them, and a test compares
both."""

from __future__ import annotations

from typing import Any

import msgspec

from ..field_table import FieldTable

_OPERATORS = "how the model runs is the operator's to say"
#: By what a chat calls them, those that mean the same by another name.
OTHER_NAMES = {"max_tokens": "num_predict", "repetition_penalty": "repeat_penalty"}


class Options(msgspec.Struct):
    """How an answer is drawn; None takes the model's default. num_predict: below 0, what the
    context leaves."""

    num_predict: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None

    def text_fields(self) -> dict[str, Any]:
        """As requests for text have them."""
        fields = msgspec.structs.asdict(self)
        if self.num_predict is not None and self.num_predict < 0:
            fields["num_predict"] = None
        for name, here in OTHER_NAMES.items():
            fields[name] = fields.pop(here)
        return fields


OPTIONS = FieldTable(
    Options,
    harmless={
        "num_ctx": "the context is what the operator made it; what does not fit is refused",
        "num_keep": "nothing is cut from a prompt",
        "mirostat_tau": "it means nothing without mirostat",
        "mirostat_eta": "it means nothing without mirostat",
        **dict.fromkeys(
            (
                "num_batch",
                "num_gpu",
                "main_gpu",
                "num_thread",
                "numa",
                "low_vram",
                "f16_kv",
                "use_mmap",
                "use_mlock",
            ),
            _OPERATORS,
        ),
    },
    fixed={
        "mirostat": (0,),
        "tfs_z": (1,),
        "typical_p": (1,),
        "repeat_last_n": (-1,),
        "penalize_newline": (True,),
        "logits_all": (False,),
        "vocab_only": (False,),
        "embedding_only": (False,),
    },
)


class _NoOptions(msgspec.Struct):
    pass


#: Those of requests that draw nothing.
NO_OPTIONS = FieldTable(_NoOptions, harmless=OPTIONS.harmless, fixed=OPTIONS.fixed)
