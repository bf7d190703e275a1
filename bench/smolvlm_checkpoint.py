"""A checkpoint of SmolVLM-256M's shape, with random weights and the demo model's tokenizer.

Its tower is SigLIP-base for squares of 512 pixels; an image takes 64 tokens of the prompt.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from ..app import DEMO_MODEL

_VISION = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 512,
    "patch_size": 16,
}
_TEXT = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49280,
    "max_position_embeddings": 2048,
}
_SPECIAL = ["<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>"]
_TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {% for p in m.content %}"
    "{% if p.type == 'image' %}<image>{% else %}{{ p.text }}{% endif %}{% endfor %}\n"
    "{% endfor %}assistant:"
)
_library: Any = transformers


def save_smolvlm(folder: Path) -> None:
    """Write it in bfloat16, half a gigabyte."""
    torch.manual_seed(0)
    tokenizer = _library.AutoTokenizer.from_pretrained(DEMO_MODEL)
    tokenizer.add_special_tokens({"extra_special_tokens": _SPECIAL})
    config = _library.Idefics3Config(
        vision_config=_VISION,
        text_config=_library.LlamaConfig(**_TEXT),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=4,
        dtype="bfloat16",
    )
    _library.Idefics3ForConditionalGeneration(config).bfloat16().save_pretrained(folder)
    square = {"longest_edge": 512}
    images = _library.Idefics3ImageProcessor(
        size=square, max_image_size=square, do_image_splitting=False
    )
    _library.Idefics3Processor(
        images, tokenizer, image_seq_len=64, chat_template=_TEMPLATE
    ).save_pretrained(folder)
