"""The list of things that the demo model names, and the English around them."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CATEGORY_PHRASES = {
    "animal": "an animal",
    "plant": "a plant",
    "food": "a kind of food",
    "drink": "a drink",
    "vehicle": "a vehicle",
    "building": "a building",
    "place": "a place",
    "clothing": "something to wear",
    "tool": "a tool",
    "weapon": "a weapon",
    "household": "a household item",
    "electronic": "an electronic device",
    "stationery": "a stationery item",
    "medical": "a medical item",
    "instrument": "something musical",
    "sport": "sports equipment",
    "toy": "a toy",
    "party": "a party item",
    "valuable": "something valuable",
    "body": "a part of the body",
    "face": "a face",
    "person": "a person",
    "symbol": "a symbol",
    "sky": "something in the sky",
    "nature": "something in nature",
    "street": "something on the street",
}

# Emojibase's subgroups, for the pictures that are no concept of ours.
SUBGROUP_CATEGORIES = {
    "face": "face",
    "cat-face": "face",
    "monkey-face": "face",
    "person": "person",
    "family": "person",
    "hand": "body",
    "body-parts": "body",
    "animal": "animal",
    "plant": "plant",
    "food": "food",
    "drink": "drink",
    "dishware": "household",
    "place-building": "building",
    "place-religious": "building",
    "place": "place",
    "transport": "vehicle",
    "hotel": "household",
    "sky": "sky",
    "event": "party",
    "award-medal": "valuable",
    "sport": "sport",
    "game": "toy",
    "clothing": "clothing",
    "sound": "instrument",
    "music": "instrument",
    "phone": "electronic",
    "computer": "electronic",
    "light-video": "electronic",
    "book-paper": "stationery",
    "money": "valuable",
    "mail": "stationery",
    "writing": "stationery",
    "office": "stationery",
    "tool": "tool",
    "science": "medical",
    "medical": "medical",
    "household": "household",
}

IRREGULAR_PLURALS = {
    "mouse": "mice",
    "leaf": "leaves",
    "tooth": "teeth",
    "foot": "feet",
    "die": "dice",
    "sheep": "sheep",
    "deer": "deer",
    "fish": "fish",
    "knife": "knives",
    "scarf": "scarves",
    "thumbs up": "thumbs up",
    "bow and arrow": "bows and arrows",
}


@dataclass(frozen=True)
class Concept:
    """One thing that the model can name."""

    name: str
    category: str
    emoji: tuple[str, ...]
    synonyms: tuple[str, ...]
    form: str

    @property
    def noun_phrase(self) -> str:
        """The name as it stands in a sentence: "an apple", "popcorn", "jeans"."""
        if self.form:
            return self.name
        return ("an " if self.name[0] in "aeio" or self.name == "umbrella" else "a ") + self.name

    @property
    def plural(self) -> str:
        """The name of several of them."""
        if self.form == "p":
            return self.name
        if self.name in IRREGULAR_PLURALS:
            return IRREGULAR_PLURALS[self.name]
        if self.name.endswith("y") and self.name[-2] not in "aeou":
            return self.name[:-1] + "ies"
        if self.name.endswith(("s", "x", "ch", "sh", "tomato", "potato")):
            return self.name + "es"
        return self.name + "s"

    @property
    def countable(self) -> bool:
        """Whether "two apples" is good English for it."""
        return not self.form

    @property
    def names(self) -> tuple[str, ...]:
        """Every word that counts as the right name."""
        return (self.name, *self.synonyms)


def split_emoji(text: str) -> tuple[str, ...]:
    """Splits a run of emoji into hex codes without variation selectors."""
    codes: list[list[str]] = []
    joined = False
    for char in text:
        if char == "\ufe0f":
            continue
        if char == "\u200d" or joined:
            codes[-1].append(f"{ord(char):X}")
            joined = char == "\u200d"
        else:
            codes.append([f"{ord(char):X}"])
    return tuple("-".join(code) for code in codes)


@cache
def load_concepts() -> tuple[Concept, ...]:
    """Reads `concepts.txt`, which lies beside this file."""
    lines = Path(__file__).with_name("concepts.txt").read_text(encoding="utf-8").splitlines()
    concepts = []
    for line in lines:
        if line.startswith("#"):
            continue
        name, category, emoji, synonyms, form = [*(p.strip() for p in line.split("|")), "", ""][:5]
        words = tuple(s.strip() for s in synonyms.split(",") if s.strip())
        concepts.append(Concept(name, category, split_emoji(emoji.strip()), words, form))
    return tuple(concepts)


def category_of_subgroup(subgroup: str) -> str:
    """The category for a picture of an Emojibase subgroup, or "" where none fits."""
    while subgroup:
        if subgroup in SUBGROUP_CATEGORIES:
            return SUBGROUP_CATEGORIES[subgroup]
        subgroup = subgroup.rpartition("-")[0]
    return ""


@cache
def word_pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    """Matches any of the names, or its plural, as a whole word."""
    words = "|".join(re.escape(name) for name in names)
    return re.compile(rf"(?<![\w-])({words})s?(?![\w-])")


def names_it(answer: str, names: tuple[str, ...]) -> bool:
    """Whether an answer has one of the names."""
    return bool(names) and word_pattern(names).search(answer.lower()) is not None
