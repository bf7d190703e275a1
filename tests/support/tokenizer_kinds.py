"""Small tokenizers of each kind that models have, in Hugging Face format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as BackendTokenizer
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "The café's menu isn't long. It says: 'naïve' déjà vu, 日本語 and 漢字!",
    "a b  c   d, e. f? g! h",
    "e\u0301 o\u0308 a\u0328 combining; 你好，世界 😀 smiles 👨‍👩‍👧 family",
    "def f(x):\n    return x ** 2\n",
]
SPECIAL = ["<s>", "</s>", "<unk>"]


def byte_level() -> BackendTokenizer:
    backend = BackendTokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer: Any = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=letters, show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    # As GPT-NeoX's, whose text is also that of "ĠĠ".
    backend.add_tokens([AddedToken("  ", normalized=False), AddedToken("<tool>", normalized=False)])
    return backend


def byte_fallback(decoder: Any) -> BackendTokenizer:
    """As SentencePiece's models of Llama and Gemma: spaces are "▁", and unknown letters bytes."""
    source = BackendTokenizer(models.BPE())
    source.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    trainer: Any = trainers.BpeTrainer(vocab_size=120, show_progress=False)
    source.train_from_iterator([CORPUS[0], CORPUS[1]], trainer)
    model = json.loads(source.to_str())["model"]
    entries = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    vocabulary = {entry: i for i, entry in enumerate([*entries, *model["vocab"]])}
    merges = [(left, right) for left, right in model["merges"]]
    backend = BackendTokenizer(
        models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    backend.add_special_tokens(SPECIAL)
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoder
    return backend


def llama() -> BackendTokenizer:
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    return byte_fallback(decoders.Sequence([*parts, decoders.Strip(" ", 1, 0)]))


def gemma() -> BackendTokenizer:
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    return byte_fallback(decoders.Sequence(parts))


def metaspace() -> BackendTokenizer:
    return byte_fallback(decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()]))


def wordpiece() -> BackendTokenizer:
    backend = BackendTokenizer(models.WordPiece(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    trainer: Any = trainers.WordPieceTrainer(
        vocab_size=200, special_tokens=SPECIAL, show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    # What the decoder writes as it writes ".".
    backend.add_tokens(["##."])
    return backend


def word_ends() -> BackendTokenizer:
    """As GPT-1's: whether a space comes first is said by the token before."""
    backend = BackendTokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer: Any = trainers.BpeTrainer(
        vocab_size=200, special_tokens=SPECIAL, end_of_word_suffix="</w>", show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    return backend


KINDS = {
    make.__name__: make for make in (byte_level, llama, gemma, metaspace, wordpiece, word_ends)
}
TIDIED = "wordpiece, tidied"


def save_tokenizers(root: Path) -> dict[str, Path]:
    """The folder of each."""
    made = {}
    for number, name in enumerate((*KINDS, TIDIED)):
        folder = root / str(number)
        make = KINDS.get(name, wordpiece)
        PreTrainedTokenizerFast(
            tokenizer_object=make(),
            bos_token="<s>",
            eos_token="</s>",
            unk_token="<unk>",
            clean_up_tokenization_spaces=name == TIDIED,
        ).save_pretrained(folder)
        made[name] = folder
    return made
