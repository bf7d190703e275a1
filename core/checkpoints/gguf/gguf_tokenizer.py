"""Whether transformers makes the tokenizer that a GGUF file describes: it passes over what it
doesn't know, and every prompt would be read as other tokens."""

from __future__ import annotations

from collections.abc import Set

from ...protocol.config import ConfigError
from .gguf_metadata import GgufMetadata

try:
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
except ImportError:  # older ones of transformers choose by architecture
    _KNOWN: Set[str] | None = None
else:
    _KNOWN = GGUF_PRE_TOKENIZER_SPLITS.keys()

_MODEL, _PRE, _PREFIX = (f"tokenizer.ggml.{name}" for name in ("model", "pre", "add_space_prefix"))
#: Ways to split a text before merging its letters, by llama.cpp's names, that are GPT-2's, which
#: transformers splits by unless it knows better; or GPT-2's with digits apart, where the
#: vocabulary has no merges of digits that a coarser split could let through.
_AS_GPT2 = frozenset(
    [
        *("default", "exaone4", "gpt-2", "gpt2", "jais", "jina-de", "jina-es", "mpt", "olmo"),
        *("phi-2", "codeshell", "command-r", "exaone", "minerva-7b", "refact", "smollm"),
        "starcoder",
    ]
)
#: Families whose tokenizers, as transformers makes them, don't prepend a space.
_WITHOUT_PREFIX = ("gemma", "gemma2", "gemma3")


def check_tokenizer(metadata: GgufMetadata) -> None:
    """Raises ConfigError that names the key at fault."""
    model, way = metadata.others.get(_MODEL), metadata.others.get(_PRE, "default")
    if model == "gpt2" and _KNOWN is not None and way not in _AS_GPT2 | _KNOWN:
        raise _refused(_PRE, way)
    prefix = metadata.others.get(_PREFIX)
    makes_prefix = metadata.architecture not in _WITHOUT_PREFIX
    # Phi-3's files don't agree with their models, whose tokenizers all begin with a space.
    if model == "llama" and metadata.architecture != "phi3" and prefix not in (None, makes_prefix):
        raise _refused(_PREFIX, prefix)


def _refused(key: str, value: object) -> ConfigError:
    return ConfigError(
        f"the GGUF file's {key} = {value!r} is not supported: prompts would be read as other "
        "tokens; serve the model's folder in Hugging Face format instead"
    )
