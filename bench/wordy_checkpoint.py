"""A checkpoint of one narrow layer with SmolLM2's vocabulary of 49,152, and a tokenizer for it.

Its forward costs next to nothing, while choosing tokens and turning them into text cost what
they do with a real model.
"""

from __future__ import annotations

import itertools
import string
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

VOCAB_SIZE = 49_152
_HIDDEN_SIZE = 64
#: So that logits have a standard deviation of 4, and the next token an entropy of some 3 nats.
_HEAD_SCALE = 4 / _HIDDEN_SIZE**0.5
_library: Any = transformers


def save_wordy(folder: Path) -> None:
    """Write it in float32, 25 MB."""
    torch.manual_seed(0)
    config = _library.LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=_HIDDEN_SIZE,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=_HIDDEN_SIZE,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        dtype="float32",
    )
    model = _library.LlamaForCausalLM(config)
    model.lm_head.weight.data.normal_(std=_HEAD_SCALE)
    model.save_pretrained(folder)
    _library.PreTrainedTokenizerFast(tokenizer_object=wordy_tokenizer()).save_pretrained(folder)


def wordy_tokenizer() -> Tokenizer:
    """Byte-level, with a made-up word for every token beyond the bytes."""
    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters = string.ascii_lowercase
    words = ("Ġ" + "".join(w) for n in (2, 3, 4) for w in itertools.product(letters, repeat=n))
    entries = itertools.islice(itertools.chain(bytes_, words), VOCAB_SIZE)
    tokenizer = Tokenizer(models.BPE(vocab={w: i for i, w in enumerate(entries)}, merges=[]))
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
