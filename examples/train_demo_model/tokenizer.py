"""Trains the tokenizer and writes it with the processor and its chat template."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

from concepts import CATEGORY_PHRASES, load_concepts
from model import PATCH_SIZE
from questions import (
    NUMBERS,
    SYSTEM,
    TEXT_ONLY,
    Scene,
    Thing,
    ask_about,
    ask_about_several,
    restyle,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlavaProcessor, PreTrainedTokenizerFast, SiglipImageProcessor

BOS, EOS, PAD, IMAGE = "<s>", "<|end|>", "<pad>", "<image>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
VOCABULARY = 2048

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' }}"
    "{% if message['content'] is string %}{{ message['content'] | trim }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] | trim }}"
    "{% elif part['type'] in ['image', 'image_url'] %}{{ '<image>' }}"
    "{% endif %}{% endfor %}{% endif %}"
    "{{ eos_token }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def corpus(modules: Path, seed: int = 0) -> Iterator[str]:
    """The text whose words the vocabulary should know."""
    rng = random.Random(seed)
    things = [Thing(c, c.category, "red") for c in load_concepts()]
    for _ in range(6000):
        scene = Scene(tuple(rng.sample(things, rng.choice((1, 1, 2, 3)))), "blue")
        several = [Scene((rng.choice(things),), "") for _ in range(rng.choice((2, 3)))]
        for turn in (*ask_about(scene, 2, rng), *ask_about_several(several, 1, rng)):
            yield restyle(turn.question, rng)
            yield turn.answer
    for concept in load_concepts():
        for _ in range(60):
            yield f"This is {concept.noun_phrase}. {NUMBERS[2]} {concept.plural}."
            yield " ".join(("the", *concept.names))
    yield from (f"It is {phrase}." for phrase in CATEGORY_PHRASES.values())
    for group, answer in TEXT_ONLY:
        yield from (*group, answer)
    yield from SYSTEM
    for entry in json.loads((modules / "emojibase-data" / "en" / "data.json").read_text()):
        yield " ".join((entry["label"], *entry.get("tags", [])))


def train_tokenizer(modules: Path) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer that takes any text and gives it back unchanged."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, BOS, EOS, IMAGE, *ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(modules), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        extra_special_tokens={"image_token": IMAGE},
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
        chat_template=CHAT_TEMPLATE,
    )


def kept_tokenizer(work: Path) -> PreTrainedTokenizerFast:
    """The work folder's tokenizer, trained at the first call: weights go with just one."""
    folder = work / "tokenizer"
    if not folder.exists():
        made = folder.with_suffix(".tmp")
        train_tokenizer(work / "train" / "node_modules").save_pretrained(made)
        made.replace(folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def build_processor(tokenizer: PreTrainedTokenizerFast, size: int) -> LlavaProcessor:
    """The processor that makes the model's input from chat text and images."""
    image_processor = SiglipImageProcessor(
        size={"height": size, "width": size}, do_convert_rgb=True, resample=3
    )
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        image_token=IMAGE,
        chat_template=CHAT_TEMPLATE,
    )
