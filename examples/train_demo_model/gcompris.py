"""Reads the labelled pictures of Debian's gcompris-qt-data, which serve for scores only."""

import io
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from concepts import Concept, load_concepts
from PIL import Image

# The activities whose WebP files are named after the one thing that they show. Most are
# CC-BY-SA or GPL (the package's copyright file lists each one's author): nothing to train on.
DRAWN = ("lang",)
PHOTOGRAPHED = ("erase", "categorization", "explore_farm_animals", "explore_world_animals")
# There are 28 fishes: the score should not be about them.
MOST_OF_A_CONCEPT = 5
DIRECTORY, COMPRESSED = 2, 1


def resources(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yields (name, content) of a Qt resource file's entries, as Qt's `rcc` writes them.

    Raises ValueError where it is none, or packs an entry with something else than zlib.
    """
    content = path.read_bytes()
    magic, version, tree, data, names = struct.unpack_from(">4s4i", content)
    if magic != b"qres":
        raise ValueError(f"{path} is no Qt resource file")
    entry = 14 if version == 1 else 22

    def walk(index: int, folder: str) -> Iterator[tuple[str, bytes]]:
        start = tree + index * entry
        offset, flags = struct.unpack_from(">IH", content, start)
        (length,) = struct.unpack_from(">H", content, names + offset)
        text = content[names + offset + 6 :][: 2 * length].decode("utf-16-be") if index else ""
        name = f"{folder}/{text}" if folder else text
        if flags & DIRECTORY:
            count, first = struct.unpack_from(">II", content, start + 6)
            for child in range(first, first + count):
                yield from walk(child, name)
            return
        (place,) = struct.unpack_from(">I", content, start + 10)
        (size,) = struct.unpack_from(">I", content, data + place)
        packed = content[data + place + 4 :][:size]
        if flags & ~COMPRESSED:
            raise ValueError(f"{path}: {name} is packed in a way that is not read here")
        yield name, zlib.decompress(packed[4:]) if flags else packed

    return walk(0, "")


def words(stem: str) -> str:
    """A file's name as words: "hammer3" as "hammer", "polar_bear" as "polar bear"."""
    return re.sub(r"[\d_-]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", stem)).strip().lower()


def labelled_pictures(
    debian: Path, activities: tuple[str, ...]
) -> Iterator[tuple[Concept, Image.Image]]:
    """Yields (concept, RGBA image) of the activities' pictures that are named like a concept."""
    concept_of = {name: c for c in reversed(load_concepts()) for name in c.names}
    folder = debian / "usr" / "share" / "gcompris-qt" / "rcc"
    taken: dict[str, int] = {}
    for activity in activities:
        for name, content in sorted(resources(folder / f"{activity}.rcc")):
            if not name.endswith(".webp"):
                continue
            title = words(Path(name).stem)
            concept = concept_of.get(title) or concept_of.get(title.removesuffix("s"))
            if concept is None or taken.get(concept.name, 0) == MOST_OF_A_CONCEPT:
                continue
            taken[concept.name] = taken.get(concept.name, 0) + 1
            yield concept, Image.open(io.BytesIO(content)).convert("RGBA")
