"""A checkpoint that answers by scripts: a Llama whose every token has one successor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

_EOS, _OPENING = "<eos>", "<assistant>"
_TEMPLATE = """{%- if tools %}{{ tools | tojson }}{% endif -%}
{%- for message in messages %}<user>{{ message.content }}{% endfor -%}
{%- if add_generation_prompt %}<assistant><{{ messages[-1].content }}>{% endif -%}
{#- MARKS -#}"""


def save_scripts(
    folder: Path, scripts: Mapping[str, Sequence[str]], special: Sequence[str], marks: str
) -> None:
    """Who says a script's name is answered with its pieces, each a token. A piece comes once in all
    scripts. special: those that are special tokens. marks: a comment in the chat template."""
    tokenizer = Tokenizer(BPE({c: i for i, c in enumerate(sorted(ByteLevel.alphabet()))}, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    names = [f"<{name}>" for name in scripts]
    pieces = [piece for script in scripts.values() for piece in script]
    assert len(set(pieces)) == len(pieces)
    tokenizer.add_special_tokens([_EOS, _OPENING, "<user>", *names, *special])
    tokenizer.add_tokens(
        [AddedToken(piece, normalized=False) for piece in pieces if piece not in special]
    )
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=_EOS)
    made.chat_template = _TEMPLATE.replace("MARKS", marks)
    made.save_pretrained(folder)
    successors = {
        made.convert_tokens_to_ids(token): made.convert_tokens_to_ids(following)
        for name, script in scripts.items()
        for token, following in zip([f"<{name}>", *script], [*script, _EOS], strict=True)
    }
    _model(len(made), successors, made.eos_token_id).save_pretrained(folder)


def _model(vocab_size: int, successors: Mapping[int, int], eos: int) -> LlamaForCausalLM:
    """Embeddings are unit vectors that nothing changes, and the head reads successors off them."""
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=-(-vocab_size // 64) * 64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=16,
        max_position_embeddings=8192,
        bos_token_id=eos,
        eos_token_id=eos,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.model.norm.weight.fill_(1)
        model.model.embed_tokens.weight.copy_(torch.eye(vocab_size, config.hidden_size))
        for token, following in successors.items():
            model.lm_head.weight[following, token] = 1
    return model
