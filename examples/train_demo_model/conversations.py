"""Turns rasters into pictures with conversations about them, as tensors to train on."""

import random
from dataclasses import dataclass, field
from functools import cache

import torch
from compose import COLOUR_NAMES, Composer, Layout, Rasters, dominant_colours
from concepts import load_concepts
from model import IMAGE_TOKENS
from questions import Scene, Thing, Turn, ask_about, ask_about_several, chat, messages
from sampling import is_concept
from tokenizer import IMAGE
from torch import Tensor
from transformers import PreTrainedTokenizerFast

# How many conversations of each sort a batch has.
SINGLES, ROWS, TWO_IMAGES, THREE_IMAGES, CHATS = 32, 8, 3, 1, 1
IGNORED = -100


@dataclass
class Batch:
    """Pictures, and the conversations about them in the order of the pictures."""

    pixels: Tensor
    short: list[tuple[list[int], list[int]]] = field(default_factory=list)
    long: list[tuple[list[int], list[int]]] = field(default_factory=list)
    singles: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    examples: list[tuple[list[Turn], list[int]]] = field(default_factory=list)


class ConversationMaker:
    """Makes batches of pictures and conversations."""

    def __init__(
        self, rasters: Rasters, weights: Tensor, tokenizer: PreTrainedTokenizerFast, seed: int
    ) -> None:
        self.rasters = rasters
        self.weights = weights
        self.concept_weights = weights * is_concept(rasters)
        self.tokenizer = tokenizer
        self.rng = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.composer = Composer(rasters, self.generator)
        self.colours = dominant_colours(rasters).tolist()
        self.concepts = {c.name: c for c in load_concepts()}
        self.image_id = tokenizer.convert_tokens_to_ids(IMAGE)
        self.encode = cache(self._encode)

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def draw(self, count: int, concepts_only: bool = False) -> Tensor:
        """Random rasters."""
        chosen = self.concept_weights if concepts_only else self.weights
        return torch.multinomial(chosen, count, True, generator=self.generator)

    def thing(self, layout: Layout, i: int) -> Thing:
        """What is known of a layout's i-th sprite."""
        raster = int(layout.rasters[i])
        colour = self.colours[raster]
        if bool(self.rasters.monochrome[raster]):
            colour = int(layout.paint[i])
        concept = self.concepts.get(self.rasters.labels[raster])
        shade = COLOUR_NAMES[colour] if colour >= 0 else ""
        return Thing(concept, self.rasters.categories[raster], shade)

    def scenes(self, layouts: list[Layout], count: int) -> tuple[Tensor, list[Scene]]:
        """Composed pictures and what they show."""
        images, shades = self.composer.compose(layouts)
        scenes = []
        for i in range(count):
            things = tuple(self.thing(layout, i) for layout in layouts)
            shade = COLOUR_NAMES[int(shades[i])] if int(shades[i]) >= 0 else ""
            scenes.append(Scene(things, shade))
        return images, scenes

    def row(self) -> tuple[Tensor, list[Scene]]:
        """One picture with two or three things, alike now and then."""
        number = self.rng.choice((2, 2, 3))
        chosen = self.draw(number, concepts_only=True)
        if self.rng.random() < 0.35:
            chosen = chosen[:1].expand(number)
        layouts = [self.composer.row(chosen[i : i + 1], i, number) for i in range(number)]
        return self.scenes(layouts, 1)

    def tokens(self, turns: list[Turn], images: int) -> tuple[list[int], list[int]]:
        """A conversation as the chat template writes it, and the labels of its answers."""
        ids, labels = [self.tokenizer.bos_token_id], [IGNORED]
        for message in messages(turns, images, self.rng):
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

    def batch(self) -> Batch:
        """A new batch; pictures come in the order in which conversations use them."""
        singles = self.draw(SINGLES)
        pictures, scenes = self.scenes([self.composer.single(singles)], SINGLES)
        images = [pictures]
        batch = Batch(pictures, singles=singles)
        for scene in scenes:
            self.add(batch, ask_about(scene, self.rng.choice((1, 2, 3)), self.rng), 1)
        for _ in range(ROWS):
            picture, (scene,) = self.row()
            images.append(picture)
            self.add(batch, ask_about(scene, self.rng.choice((1, 2, 3)), self.rng), 1)
        for _ in range(CHATS):
            self.add(batch, chat(self.rng), 0)
        for number in (2,) * TWO_IMAGES + (3,) * THREE_IMAGES:
            chosen = self.draw(number, concepts_only=True)
            several, scenes = self.scenes([self.composer.single(chosen)], number)
            images.append(several)
            self.add(batch, ask_about_several(scenes, self.rng.choice((2, 3)), self.rng), number)
        batch.pixels = torch.cat(images)
        return batch

    def add(self, batch: Batch, turns: list[Turn], images: int) -> None:
        """Appends a conversation to the batch."""
        (batch.long if images > 1 else batch.short).append(self.tokens(turns, images))
