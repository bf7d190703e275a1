"""Questions to begin with, about pictures that the package brings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "pictures"


@dataclass(frozen=True)
class Example:
    """pictures: names of files in FOLDER."""

    question: str
    pictures: tuple[str, ...]

    @property
    def paths(self) -> list[str]:
        """Of its pictures."""
        return [str(FOLDER / name) for name in self.pictures]


EXAMPLES = (
    Example("What is this?", ("pizza.png",)),
    Example("What colour is it?", ("strawberry.png",)),
    Example("Which picture shows a car?", ("pizza.png", "car.png")),
)
