"""The vision-language models that are measured: SmolVLM-256M's shape, and LLaVA-1.5's with CLIP
ViT-L/14 at 336 pixels. The language model is SmolLM2-135M; towers and projectors are random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file

_library: Any = transformers
_SIGLIP_BASE = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 512,
    "patch_size": 16,
}
_CLIP_LARGE = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
}
_SMOLVLM_TOKENS = ["<global-img>", "<fake_token_around_image>", "<image>", "<end_of_utterance>"]
_SMOLVLM_TEMPLATE = (
    "<|im_start|>{% for m in messages %}{{ m.role | capitalize }}:{% for p in m.content %}"
    "{% if p.type == 'image' %}<image>{% else %}{{ p.text }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}Assistant:"
)
_LLAVA_TEMPLATE = (
    "{% for m in messages %}{{ m.role | upper }}: {% for p in m.content %}"
    "{% if p.type == 'image' %}<image>\n{% else %}{{ p.text }}{% endif %}{% endfor %} "
    "{% endfor %}ASSISTANT:"
)
_VOCAB_MULTIPLE = 64
_PAD_ID = 2


def save_smolvlm(folder: Path, text_folder: Path) -> None:
    """An image of 512 pixels takes 64 tokens. text_folder: of SmolLM2-135M."""
    tokenizer = _load_tokenizer(text_folder, _SMOLVLM_TOKENS)
    config = _library.Idefics3Config(
        vision_config=_SIGLIP_BASE,
        text_config=_text_config(text_folder, len(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=4,
        pad_token_id=_PAD_ID,
        tie_word_embeddings=False,
    )
    _save(_library.Idefics3ForConditionalGeneration, config, text_folder, folder)
    square = {"longest_edge": 512}
    images = _library.Idefics3ImageProcessor(
        size=square, max_image_size=square, do_image_splitting=False
    )
    _library.Idefics3Processor(
        images, tokenizer, image_seq_len=64, chat_template=_SMOLVLM_TEMPLATE
    ).save_pretrained(folder)


def save_llava(folder: Path, text_folder: Path) -> None:
    """An image takes 576 tokens. text_folder: of SmolLM2-135M."""
    tokenizer = _load_tokenizer(text_folder, ["<image>"])
    config = _library.LlavaConfig(
        vision_config=_library.CLIPVisionConfig(**_CLIP_LARGE),
        text_config=_text_config(text_folder, len(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=_PAD_ID,
        tie_word_embeddings=False,
    )
    _save(_library.LlavaForConditionalGeneration, config, text_folder, folder)
    _rename_tower(folder / "model.safetensors")
    side = _CLIP_LARGE["image_size"]
    images = _library.CLIPImageProcessor(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )
    _library.LlavaProcessor(
        images,
        tokenizer,
        patch_size=_CLIP_LARGE["patch_size"],
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_LLAVA_TEMPLATE,
    ).save_pretrained(folder)


def _load_tokenizer(text_folder: Path, special: list[str]) -> Any:
    tokenizer = _library.AutoTokenizer.from_pretrained(text_folder)
    tokenizer.add_special_tokens({"extra_special_tokens": special})
    return tokenizer


def _text_config(text_folder: Path, num_tokens: int) -> Any:
    config = _library.AutoConfig.from_pretrained(text_folder)
    config.vocab_size = -(-num_tokens // _VOCAB_MULTIPLE) * _VOCAB_MULTIPLE
    config.tie_word_embeddings = False
    return config


def _save(kind: Any, config: Any, text_folder: Path, folder: Path) -> None:
    """With the text model's weights; the added tokens get the mean of the others."""
    torch.manual_seed(0)
    text = _library.AutoModelForCausalLM.from_pretrained(text_folder, dtype=torch.float32)
    weights = text.model.state_dict()
    embedding = weights.pop("embed_tokens.weight")
    model = kind(config)
    decoder = model.model.get_decoder()
    decoder.load_state_dict(weights, strict=False)
    with torch.no_grad():
        for table in (decoder.embed_tokens.weight, model.lm_head.weight):
            table[:] = embedding.mean(0)
            table[: len(embedding)] = embedding
    model.generation_config.pad_token_id = _PAD_ID
    model.bfloat16().save_pretrained(folder)


def _rename_tower(path: Path) -> None:
    """The names of CLIP's weights as published LLaVA checkpoints have them; engines know those."""
    renamed = {}
    for name, weight in load_file(path).items():
        head, tower, tail = name.partition("vision_tower.")
        inner = "" if tail.startswith("vision_model.") or not tower else "vision_model."
        renamed[f"{head}{tower}{inner}{tail}"] = weight
    save_file(renamed, path, metadata={"format": "pt"})
