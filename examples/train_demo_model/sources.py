"""Finds the pictures of the downloaded packages and tells what each one shows."""

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from concepts import category_of_subgroup, load_concepts

EMOJI_SETS = (
    "noto",
    "noto-v1",
    "twemoji",
    "emojione",
    "emojione-monotone",
    "fxemoji",
    "fluent-emoji",
    "fluent-emoji-flat",
    "fluent-emoji-high-contrast",
    "streamline-emojis",
)
ICON_SETS = (
    "streamline-kameleon-color",
    "streamline-ultimate-color",
    "streamline-plump-color",
    "streamline-stickies-color",
    "flat-color-icons",
    "icon-park",
    "game-icons",
    "mdi",
    "ph",
    "fa6-solid",
)
ICON_STYLES = re.compile(
    r"(-(face|head|side|front|alt|fill|duotone|duo|outline|variant|solid|one|two|three|[0-9]+))+$"
)
# Synonyms that mean something else too often in titles that people gave to their clip-art.
VAGUE_WORDS = {
    "drop", "sweet", "note", "bow", "pin", "cup", "bag", "letter", "mail", "chips", "needle",
    "music", "bin", "box", "bath", "home", "brush", "heel", "tie", "bulb", "palm", "earth",
    "cap", "toast", "torch", "paw", "trash", "present", "capsule", "phone", "tv", "lock", "thumb",
    "controller", "cob", "ram", "target", "orange", "ring", "star", "flag",
    "building", "wave", "magnifier", "thunder", "clover",
}  # fmt: skip
MAX_CLIPART_PER_CONCEPT = 40
MAX_SVG_BYTES = 400_000


@dataclass(frozen=True)
class Picture:
    """One picture to rasterise: where it is and what it shows."""

    vendor: str
    name: str
    label: str
    category: str
    svg: str = ""
    path: str = ""
    monochrome: bool = False


def squash(name: str) -> str:
    """A name without anything but its letters and digits, to compare across sets."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


@cache
def emoji_table(modules: Path) -> dict[str, tuple[str, str]]:
    """Maps an emoji's hex code to (label, category); labels are concepts or "emoji:…"."""
    base = modules / "emojibase-data"
    groups = json.loads((base / "meta" / "groups.json").read_text())
    concept_of = {code: c for c in load_concepts() for code in c.emoji}
    table = {}
    for entry in json.loads((base / "en" / "data.json").read_text()):
        code = entry["hexcode"].replace("-FE0F", "")
        if code in concept_of:
            concept = concept_of[code]
            table[code] = (concept.name, concept.category)
            continue
        if entry.get("group") in (None, 2, 9):
            continue
        category = category_of_subgroup(groups["subgroups"][str(entry["subgroup"])])
        person = entry["group"] == 1 and category == "person"
        label = "emoji:person" if person else "emoji:" + code
        if category:
            table[code] = (label, category)
    return table


@cache
def emoji_names(modules: Path) -> dict[str, str]:
    """Maps squashed names (CLDR's, Unicode's and short ones) to hex codes."""
    names = {}
    for entry in json.loads((modules / "emoji-datasource-twitter" / "emoji.json").read_text()):
        code = entry["unified"].replace("-FE0F", "")
        for name in (entry["name"], *entry["short_names"]):
            names.setdefault(squash(name or ""), code)
    for entry in json.loads((modules / "emojibase-data" / "en" / "data.json").read_text()):
        names[squash(entry["label"])] = entry["hexcode"].replace("-FE0F", "")
    return names


def icons(modules: Path, name: str) -> Iterator[tuple[str, str]]:
    """Yields (icon name, SVG text) of an iconify set."""
    data = json.loads((modules / "@iconify-json" / name / "icons.json").read_text())
    for icon, entry in data["icons"].items():
        width = entry.get("width", data.get("width", 16))
        height = entry.get("height", data.get("height", 16))
        box = f"{entry.get('left', 0)} {entry.get('top', 0)} {width} {height}"
        yield (
            icon,
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{box}">{entry["body"]}</svg>',
        )


def is_monochrome(modules: Path, name: str) -> bool:
    """Whether an iconify set says that its icons have no colours of their own."""
    info = json.loads((modules / "@iconify-json" / name / "info.json").read_text())
    return not info["palette"]


def emoji_pictures(modules: Path, vendor: str) -> Iterator[Picture]:
    """The pictures of an iconify set whose icons are named after emoji."""
    names, table = emoji_names(modules), emoji_table(modules)
    monochrome = is_monochrome(modules, vendor)
    for icon, svg in icons(modules, vendor):
        code = names.get(squash(icon)) or names.get(squash(re.sub(r"-\d+$", "", icon)))
        if code in table:
            label, category = table[code]
            yield Picture(vendor, icon, label, category, svg, monochrome=monochrome)


def icon_pictures(modules: Path, vendor: str) -> Iterator[Picture]:
    """The pictures of a general icon set that are named exactly like a concept."""
    concept_of = {squash(n): c for c in reversed(load_concepts()) for n in c.names}
    monochrome = is_monochrome(modules, vendor)
    for icon, svg in icons(modules, vendor):
        concept = concept_of.get(squash(ICON_STYLES.sub("", icon)))
        if concept is not None and ICON_STYLES.sub("", icon) not in VAGUE_WORDS:
            yield Picture(vendor, icon, concept.name, concept.category, svg, monochrome=monochrome)


def fluent_3d_pictures(modules: Path) -> Iterator[Picture]:
    """The rendered Fluent pictures, named by hex code."""
    table = emoji_table(modules)
    for path in sorted((modules / "@lobehub" / "fluent-emoji-3d" / "assets").glob("*.webp")):
        code = path.stem.upper().replace("-FE0F", "")
        if code in table:
            yield Picture("fluent-3d", path.stem, *table[code], path=str(path))


def flag_pictures(modules: Path) -> Iterator[Picture]:
    """Some of the country flags, all of them simply a flag."""
    for path in sorted((modules / "svg-country-flags" / "svg").glob("*.svg"))[::8]:
        yield Picture("country-flags", path.stem, "flag", "symbol", path=str(path))


def clipart_words(path: Path) -> list[str]:
    """The words of an Openclipart picture's title, or of its file name."""
    title = ""
    try:
        for element in ET.parse(path).iter():
            if element.tag.endswith("}title") and element.text:
                title = element.text
                break
    except ET.ParseError:
        return []
    words = re.findall(r"[a-z-]+", title.lower())
    return words or re.findall(r"[a-z-]+", path.stem.lower().replace("_", " "))


def clipart_concept(words: list[str]) -> str:
    """The concept that a title of at most three words ends with, or ""."""
    if not 1 <= len(words) <= 3:
        return ""
    for concept in sorted(load_concepts(), key=lambda c: -len(c.name)):
        for name in concept.names:
            size = len(name.split())
            if name not in VAGUE_WORDS and " ".join(words[-size:]) in (name, concept.plural):
                return concept.name
    return ""


def clipart_pictures(debian: Path) -> Iterator[Picture]:
    """Openclipart's pictures whose title names a concept."""
    category_of = {c.name: c.category for c in load_concepts()}
    taken: dict[str, int] = {}
    for path in sorted((debian / "usr" / "share" / "openclipart" / "svg").rglob("*.svg")):
        if path.is_symlink() or "duplicates" in path.parts:
            continue
        if path.stat().st_size > MAX_SVG_BYTES:
            continue
        label = clipart_concept(clipart_words(path))
        if label and taken.get(label, 0) < MAX_CLIPART_PER_CONCEPT:
            taken[label] = taken.get(label, 0) + 1
            yield Picture("openclipart", path.stem, label, category_of[label], path=str(path))


def training_pictures(work: Path) -> Iterator[Picture]:
    """Every picture that training may use."""
    modules = work / "train" / "node_modules"
    for vendor in EMOJI_SETS:
        yield from emoji_pictures(modules, vendor)
    for vendor in ICON_SETS:
        yield from icon_pictures(modules, vendor)
    yield from fluent_3d_pictures(modules)
    yield from flag_pictures(modules)
    yield from clipart_pictures(work / "train" / "debian")
