"""What transformers makes of a config or of a tokenizer's files.

Run as a module, it answers one question in a process that ends with it, and lets transformers
believe that there is no torch: neither question needs it, and it takes longer to import than all
the rest. `ask_transformers.py` is where questions are asked.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..contracts.specs import JsonDict


def complete(config: JsonDict) -> JsonDict:
    """`config`: with defaults filled in and legacy spellings normalised, nested ones too, but for
    those of a `model_type` that transformers doesn't know, which stay as they are. `known`:
    whether it knows that of the whole. `error`: why it refuses the config."""
    from transformers import CONFIG_MAPPING

    if not _is_known(config, CONFIG_MAPPING):
        return {"known": False, "config": config}
    model_type = str(config["model_type"])
    foreign = {
        key: value
        for key, value in config.items()
        if isinstance(value, Mapping)
        and "model_type" in value
        and not _is_known(value, CONFIG_MAPPING)
    }
    known = {key: value for key, value in config.items() if key not in foreign}
    try:
        made = CONFIG_MAPPING[model_type].from_dict(known).to_dict()
        # As JSON has it, whichever process answers: with texts as keys.
        completed: dict[str, Any] = json.loads(json.dumps(made))
    except Exception as error:  # noqa: BLE001 - each family's class checks in its own way
        return {"error": f"the {model_type} config is not valid: {error}"}
    return {"known": True, "config": completed | foreign}


def _is_known(config: JsonDict, known: Mapping[str, Any]) -> bool:
    return str(config.get("model_type")) in known


def tokenizer(source: JsonDict) -> JsonDict:
    """The parts of a tokenizer: `backend`, in the form of `tokenizer.json`; `special_tokens`, by
    their names in chat templates; `chat_template`; and `is_plain`, whether the backend alone
    encodes and decodes as the whole does. `error`: why there is none.

    source: the `folder`.
    """
    made = load_tokenizer(source)
    if isinstance(made, str):
        return {"error": made}
    backend = made.backend_tokenizer
    # Lengths are the engine's to decide.
    backend.no_truncation()
    backend.no_padding()
    return {
        "backend": backend.to_str(),
        "special_tokens": made.special_tokens_map,
        "chat_template": made.chat_template,
        "is_plain": _is_plain(made),
    }


def load_tokenizer(source: JsonDict) -> Any:
    """transformers' own object, or why there is none."""
    from transformers import AutoTokenizer

    folder = Path(source["folder"])
    try:
        made: Any = AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # noqa: BLE001 - tokenizers raises nothing narrower
        return f"no usable tokenizer: {error}"
    # Some of transformers' tokenizers are made without a vocabulary, and read every text as
    # nothing or as unknown.
    names = {"tokenizer.json", "tokenizer.model", *made.vocab_files_names.values()}
    if not any((folder / file).is_file() for file in names):
        return (
            f"no usable tokenizer: {folder} has none of {', '.join(sorted(names))}; copy the "
            "tokenizer's files from the model's repository"
        )
    if getattr(made, "backend_tokenizer", None) is None:
        return "the tokenizer has no fast (Rust) version"
    return made


def _is_plain(made: Any) -> bool:
    """Whether transformers adds nothing to what the backend encodes and decodes."""
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    own = any(
        getattr(type(made), name, None) is not getattr(PreTrainedTokenizerFast, name, None)
        for name in ("__call__", "_encode_plus", "_batch_encode_plus", "decode", "_decode")
    )
    # transformers cleans up no BPE tokenizer's text unless it is told twice.
    cleans_up = made.clean_up_tokenization_spaces and (
        not isinstance(made.backend_tokenizer.model, BPE)
        or made.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output
    )
    return not own and not cleans_up and not made.split_special_tokens


def generation_fields(nothing: JsonDict) -> JsonDict:
    """`names`: of the fields of a `generation_config.json` that transformers knows."""
    from transformers import GenerationConfig

    made: Any = GenerationConfig
    return {"names": [name for name in vars(made()) if not name.startswith("_")]}


ANSWERS: Mapping[str, Callable[[JsonDict], JsonDict]] = {
    "complete": complete,
    "generation_fields": generation_fields,
    "tokenizer": tokenizer,
}


def _main() -> None:
    """A JSON object with a `question` and an `argument` comes in, the answer goes out."""
    sys.modules["torch"] = None  # type: ignore[assignment]  # documented to make imports fail
    asked = json.load(sys.stdin)
    answer = ANSWERS[asked["question"]](asked["argument"])
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    _main()
