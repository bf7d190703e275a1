"""How texts are split before letters are merged, by llama.cpp's names of `tokenizer.ggml.pre`."""

from __future__ import annotations

_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
#: As the tokenizers of these models, in `tokenizer.json`, have it.
_LLAMA3 = (
    rf"{_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_BLANKS}"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
#: Letters with their marks.
_QWEN35 = (
    rf"{_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_BLANKS}"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_WORDS = (
    r"[^\r\n\p{L}\p{N}]?" + f"{_UPPER}*{_LOWER}+" + "%s"
    r"|[^\r\n\p{L}\p{N}]?" + f"{_UPPER}+{_LOWER}*" + "%s"
)
_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
_TEKKEN = rf"{_WORDS % ('', '')}|\p{{N}}|{_SIGNS}|{_BLANKS}"
_GPT_4O = rf"{_WORDS % (_ENDINGS + '?', _ENDINGS + '?')}|\p{{N}}{{1,3}}|{_SIGNS}|{_BLANKS}"

_NAMES = {
    _LLAMA3: "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano dbrx "
    "smaug-bpe",
    _TEKKEN: "tekken",
    _QWEN2: "qwen2 deepseek-r1-qwen kormo f2llmv2 megrez",
    _QWEN35: "qwen35",
    _GPT_4O: "gpt-4o llama4 kanana2 talkie minimax-m2",
}
#: Regular expressions by name, as Oniguruma reads them.
SPLITS = {name: split for split, names in _NAMES.items() for name in names.split()}
#: Names that split as GPT-2 does; or as GPT-2 with digits apart, where the vocabulary has no merges
#: of digits that a coarser split could let through.
AS_GPT2 = frozenset(
    [
        *("default", "exaone4", "gpt-2", "gpt2", "jais", "jina-de", "jina-es", "mpt", "olmo"),
        *("phi-2", "codeshell", "command-r", "exaone", "minerva-7b", "refact", "smollm"),
        "starcoder",
    ]
)
