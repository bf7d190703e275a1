"""The config of a GGUF file has what transformers reads of it, and a value that can't be computed
with is refused by the name of its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFValueType, GGUFWriter
from octavo.core.checkpoints.gguf.gguf_config import gguf_config
from octavo.core.checkpoints.gguf.gguf_file import read_gguf
from octavo.core.checkpoints.gguf.gguf_metadata import GgufMetadata
from octavo.core.checkpoints.hf_config import complete_config
from octavo.core.protocol.config import ConfigError
from transformers import modeling_gguf_pytorch_utils

_reference: Any = modeling_gguf_pytorch_utils
_FIELDS: dict[str, dict[str, str | None]] = _reference.GGUF_TO_TRANSFORMERS_MAPPING["config"]
SIZES: dict[str, Any] = {
    "context_length": 640,
    "block_count": 2,
    "feed_forward_length": 96,
    "embedding_length": 64,
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
    "attention.key_length": 16,
    "attention.layer_norm_rms_epsilon": 2.0**-10,
    "attention.layer_norm_epsilon": 2.0**-11,
    "attention.sliding_window": 8,
    "rope.dimension_count": 16,
    "rope.freq_base": 5000.0,
    "vocab_size": 5,
}
TOKENS = ["<unk>", "<s>", "</s>", "a", "b"]
#: Fields about positions, which transformers leaves in part to defaults.
POSITIONS = ("rope_theta", "rope_scaling", "rope_parameters")
#: Tensors, by architecture, that a config is read from.
TENSORS = {
    "llama": ["output.weight"],
    "stablelm": ["blk.0.attn_q.bias", "blk.0.ffn_norm.weight"],
    "falcon": ["output.weight"],
}
ARCHITECTURES = (
    *("bloom", "falcon", "gemma2", "gemma3", "gpt2", "llama", "nemotron", "phi3", "qwen2"),
    *("qwen3", "stablelm", "starcoder2"),
)


def write(path: Path, architecture: str, keys: dict[str, Any]) -> Path:
    """keys: of the architecture, without its name, or of any other."""
    writer = GGUFWriter(path, architecture)
    for key, value in keys.items():
        name = key if key.startswith(("general.", "tokenizer.")) else f"{architecture}.{key}"
        writer.add_key_value(name, value, GGUFValueType.get_type(value))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(TOKENS)
    for name in ("blk.0.attn_q.weight", "blk.1.attn_q.weight", *TENSORS.get(architecture, [])):
        writer.add_tensor(name, np.zeros(4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def config_of(path: Path) -> dict[str, Any]:
    return dict(gguf_config(GgufMetadata(read_gguf(path))))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_has_what_transformers_reads(architecture: str, tmp_path: Path) -> None:
    known = _FIELDS[architecture]
    keys = {key: value for key, value in SIZES.items() if key in known}
    ids = {"bos": 1, "eos": 2, "padding": 0, "unknown": 0}
    keys |= {f"tokenizer.ggml.{name}_token_id": number for name, number in ids.items()}
    path = write(tmp_path / "c.gguf", architecture, keys)
    stated = _reference.load_gguf_checkpoint(str(path))["config"]
    stated.pop("_model_name_or_path", None)
    expected = complete_config(stated)
    config = config_of(path)
    for name in (*stated, "model_type"):
        if name not in POSITIONS:
            assert config[name] == expected[name], name


def test_a_vocabulary_without_a_size(tmp_path: Path) -> None:
    keys = {key: value for key, value in SIZES.items() if key in _FIELDS["qwen2"]}
    del keys["vocab_size"]
    assert config_of(write(tmp_path / "c.gguf", "qwen2", keys))["vocab_size"] == len(TOKENS)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no size": ({"embedding_length": 0}, r"qwen2\.embedding_length = 0 .*whole number above 0"),
    "a negative size": ({"feed_forward_length": -1}, r"feed_forward_length = -1 "),
    "sizes in words": ({"context_length": "long"}, r"qwen2\.context_length = 'long'"),
    "sizes by layer": ({"attention.head_count_kv": [2, 2]}, r"head_count_kv = \[2, 2\]"),
    "a flag for a size": ({"attention.head_count": True}, r"head_count = True"),
    "more layers": ({"block_count": 10**9}, r"block_count = 1000000000, but its tensors are of 2 "),
    "more heads": ({"attention.head_count": 65}, r"head_count = 65, but .*embedding_length = 64"),
    "no number": ({"rope.freq_base": float("nan")}, r"rope\.freq_base = nan .*number above 0"),
    "endless": ({"rope.scaling.factor": float("inf")}, r"rope\.scaling\.factor = inf"),
    "half a token": ({"tokenizer.ggml.eot_token_id": 0.5}, r"eot_token_id = 0\.5"),
    "words for tokens": ({"tokenizer.ggml.eos_token_ids": ["a"]}, r"eos_token_ids = \['a'\]"),
    "a pattern in words": ({"attention.sliding_window_pattern": "all"}, r"pattern = 'all'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_value_of_another_kind_is_named(name: str, tmp_path: Path) -> None:
    keys, message = REFUSED[name]
    sizes = {key: value for key, value in SIZES.items() if key in _FIELDS["qwen2"]}
    path = write(tmp_path / "bad.gguf", "qwen2", {**sizes, **keys})
    with pytest.raises(ConfigError, match=message):
        config_of(path)
