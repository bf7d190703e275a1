"""Turns the pool's pictures into conversations about them, as tensors to train on."""

import random
from dataclasses import dataclass, field
from functools import cache

import torch
from compose import COLOUR_NAMES, Rasters, dominant_colours
from concepts import load_concepts
from model import IMAGE_TOKENS
from pool import NOTHING, Pool
from questions import (
    DECIDING,
    Scene,
    Thing,
    ask_about,
    ask_about_several,
    chat,
    messages,
    what,
)
from sampling import is_concept
from tokenizer import IMAGE
from torch import Tensor
from transformers import PreTrainedTokenizerFast

# How many conversations of each sort a batch has.
SINGLES, ROWS, TWO_IMAGES, THREE_IMAGES, CHATS = 80, 32, 12, 4, 2
IGNORED = -100
DECIDING_WEIGHT = 5.0


@dataclass
class Batch:
    """Conversations, and the pool's pictures in the order in which they use them."""

    chosen: Tensor
    short: list[tuple[list[int], list[int]]] = field(default_factory=list)
    long: list[tuple[list[int], list[int]]] = field(default_factory=list)


class ConversationMaker:
    """Makes batches of conversations about a pool's pictures."""

    def __init__(
        self, rasters: Rasters, pool: Pool, tokenizer: PreTrainedTokenizerFast, seed: int
    ) -> None:
        self.rasters = rasters
        self.pool = pool
        self.tokenizer = tokenizer
        self.rng = random.Random(seed)
        self.colours = dominant_colours(rasters).tolist()
        self.concepts = {c.name: c for c in load_concepts()}
        shown = is_concept(rasters)[pool.things[: pool.singles, 0]]
        self.nameable = shown.nonzero().flatten().tolist()
        self.image_id = tokenizer.convert_tokens_to_ids(IMAGE)
        self.encode = cache(self._encode)

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def token_weights(self) -> Tensor:
        """How much each token counts in the loss: those that decide an answer more."""
        weights = torch.ones(len(self.tokenizer))
        for word in DECIDING:
            weights[self.encode(word)[0]] = DECIDING_WEIGHT
        return weights

    def thing(self, raster: int, paint: int) -> Thing:
        """What is known of a raster in its paint."""
        colour = paint if bool(self.rasters.monochrome[raster]) else self.colours[raster]
        shade = COLOUR_NAMES[colour] if colour >= 0 else ""
        concept = self.concepts.get(self.rasters.labels[raster])
        return Thing(concept, self.rasters.categories[raster], shade)

    def scene(self, index: int) -> Scene:
        """What one of the pool's pictures shows."""
        rasters, paints = self.pool.things[index].tolist(), self.pool.paints[index].tolist()
        things = tuple(
            self.thing(raster, paint)
            for raster, paint in zip(rasters, paints, strict=True)
            if raster != NOTHING
        )
        shade = int(self.pool.backgrounds[index])
        return Scene(things, COLOUR_NAMES[shade] if shade >= 0 else "")

    def single(self) -> int:
        """A random picture with one thing."""
        return self.rng.randrange(self.pool.singles)

    def row(self) -> int:
        """A random picture with several things."""
        return self.rng.randrange(self.pool.singles, len(self.pool))

    def several(self, number: int) -> list[int]:
        """Random pictures with one thing each, all of which have names."""
        return self.rng.choices(self.nameable, k=number)

    def tokens(self, conversation: list[dict]) -> tuple[list[int], list[int]]:
        """A conversation as the chat template writes it, and the labels of its answers."""
        ids, labels = [self.tokenizer.bos_token_id], [IGNORED]
        for message in conversation:
            role = self.encode(f"<|{message['role']}|>")
            content = message["content"]
            if not isinstance(content, str):
                parts = (p["text"] if p["type"] == "text" else IMAGE for p in content)
                content = "".join(parts)
            body = [*self.encode(content), self.tokenizer.eos_token_id]
            ids += [*role, *body]
            wanted = body if message["role"] == "assistant" else [IGNORED] * len(body)
            labels += [IGNORED] * len(role) + wanted
        return self.spread(ids, labels)

    def spread(self, ids: list[int], labels: list[int]) -> tuple[list[int], list[int]]:
        """Repeats each image token once per patch, as the processor does."""
        wide_ids, wide_labels = [], []
        for token, label in zip(ids, labels, strict=True):
            times = IMAGE_TOKENS if token == self.image_id else 1
            wide_ids += [token] * times
            wide_labels += [label] * times
        return wide_ids, wide_labels

    def first_batch(self) -> Batch:
        """A batch to begin with: what is this, and one question about each row."""
        chosen = [self.single() for _ in range(SINGLES)] + [self.row() for _ in range(ROWS)]
        batch = Batch(torch.tensor(chosen))
        for index in chosen:
            scene = self.scene(index)
            alone = len(scene.things) == 1
            turns = [what(scene, self.rng)] if alone else ask_about(scene, 1, self.rng)
            batch.short.append(self.tokens(messages(turns, 1, self.rng)))
        return batch

    def batch(self) -> Batch:
        """A new batch: single things, rows, chats, and several images."""
        chosen = [self.single() for _ in range(SINGLES)] + [self.row() for _ in range(ROWS)]
        batch = Batch(torch.empty(0))
        for index in chosen:
            turns = ask_about(self.scene(index), self.rng.choice((1, 2, 3)), self.rng)
            batch.short.append(self.tokens(messages(turns, 1, self.rng)))
        for _ in range(CHATS):
            batch.short.append(self.tokens(messages(chat(self.rng), 0, self.rng)))
        for number in (2,) * TWO_IMAGES + (3,) * THREE_IMAGES:
            images = self.several(number)
            scenes = [self.scene(index) for index in images]
            turns = ask_about_several(scenes, self.rng.choice((2, 3)), self.rng)
            batch.long.append(self.tokens(messages(turns, number, self.rng)))
            chosen += images
        batch.chosen = torch.tensor(chosen)
        return batch
