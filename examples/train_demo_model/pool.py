"""Composes a pool of pictures ahead of training, with what the teacher says about each."""

import argparse
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from compose import Composer, Layout, Rasters, load_rasters
from precision import autocast
from sampling import Labels, is_concept, training_mask, weights
from teacher import load_teacher
from torch import Tensor, nn

CHUNK = 64
CONCEPT_SHARE = 0.88
ALIKE_SHARE = 0.35
MOST_THINGS = 3
NOTHING = -1


@dataclass
class Pool:
    """Composed pictures; those with one thing first, then those with things in a row."""

    pixels: Tensor  # uint8, n × 3 × height × width
    things: Tensor  # rasters from left to right, NOTHING where there are fewer
    paints: Tensor  # the colours that monochrome rasters were given
    backgrounds: Tensor  # the index of a plain background's colour, or NO_COLOUR
    singles: int
    logits: Tensor  # the teacher's, n × labels
    grids: Tensor  # the teacher's features, n × patches × width

    def __len__(self) -> int:
        return len(self.pixels)

    def counts(self) -> Tensor:
        """How many things each picture has."""
        return (self.things != NOTHING).sum(1)


class PoolMaker:
    """Draws rasters and composes them."""

    def __init__(self, rasters: Rasters, allowed: Tensor, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.composer = Composer(rasters, self.generator)
        self.weights = weights(rasters, allowed, CONCEPT_SHARE)
        self.concept_weights = self.weights * is_concept(rasters)

    def draw(self, weight: Tensor, count: int) -> Tensor:
        """Random rasters."""
        return torch.multinomial(weight, count, True, generator=self.generator)

    def layouts(self, count: int, things: int) -> list[Layout]:
        """Where the things of `count` pictures go."""
        if things == 1:
            return [self.composer.single(self.draw(self.weights, count))]
        chosen = self.draw(self.concept_weights, count * things).view(things, count)
        alike = self.composer.chance(count, ALIKE_SHARE)
        chosen = torch.where(alike, chosen[:1], chosen)
        return [self.composer.row(chosen[i], i, things) for i in range(things)]

    def part(self, count: int, things: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pictures with that many things: pixels, rasters, paints and backgrounds."""
        layouts = self.layouts(count, things)
        pixels, backgrounds = self.composer.compose(layouts)
        rasters = torch.full((count, MOST_THINGS), NOTHING)
        rasters[:, :things] = torch.stack([layout.rasters for layout in layouts], 1)
        paints = torch.zeros(count, MOST_THINGS, dtype=torch.long)
        paints[:, :things] = torch.stack([layout.paint for layout in layouts], 1)
        return (pixels * 255).round().byte(), rasters, paints, backgrounds

    @torch.no_grad()
    def make(self, singles: int, rows: int, teacher: nn.Module | None = None) -> Pool:
        """A pool; without a teacher its logits and grids stay empty."""
        parts, taught = [], []
        twos = rows * 2 // 3
        for total, things in ((singles, 1), (twos, 2), (rows - twos, 3)):
            for start in range(0, total, CHUNK):
                parts.append(self.part(min(CHUNK, total - start), things))
                if teacher is not None:
                    taught.append(teach(teacher, parts[-1][0]))
        pixels, rasters, paints, backgrounds = (
            torch.cat(column) for column in zip(*parts, strict=True)
        )
        if teacher is None:
            taught = [(torch.empty(0), torch.empty(0))]
        logits, grids = (torch.cat(column) for column in zip(*taught, strict=True))
        return Pool(pixels, rasters, paints, backgrounds, singles, logits, grids)


def teach(teacher: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """What the teacher says about pictures, in bfloat16."""
    with autocast():
        logits, grid = teacher(pixels.float() / 255)
    return logits.bfloat16(), grid.flatten(2).transpose(1, 2).bfloat16()


def save_pool(pool: Pool, work: Path) -> None:
    """Writes the pool into the work folder."""
    torch.save({field.name: getattr(pool, field.name) for field in fields(pool)}, work / "pool.pt")


def load_pool(work: Path) -> Pool:
    """Reads what `save_pool` wrote."""
    return Pool(**torch.load(work / "pool.pt", weights_only=True, mmap=True))


def main() -> None:
    """Composes the pool and asks the teacher."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--singles", type=int, default=72_000)
    parser.add_argument("--rows", type=int, default=24_000)
    parser.add_argument("--seed", type=int, default=4)
    args = parser.parse_args()
    torch.set_num_threads(2)
    rasters = load_rasters(args.work)
    maker = PoolMaker(rasters, training_mask(rasters), args.seed)
    teacher = load_teacher(args.work, len(Labels(rasters).names))
    pool = maker.make(args.singles, args.rows, teacher)
    save_pool(pool, args.work)
    print(f"{len(pool)} pictures")


if __name__ == "__main__":
    main()
