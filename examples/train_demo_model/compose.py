"""Composes training pictures from rasters in batched torch: cheap, varied, deterministic."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from model import IMAGE_SIZE
from torch import Tensor
from torch.nn import functional as F

SIZE = IMAGE_SIZE

# The colours that the model may be asked about, with typical sRGB values.
COLOURS = {
    "red": (0.85, 0.12, 0.15),
    "orange": (0.96, 0.55, 0.10),
    "yellow": (0.98, 0.85, 0.15),
    "green": (0.20, 0.65, 0.25),
    "blue": (0.15, 0.40, 0.85),
    "purple": (0.52, 0.22, 0.72),
    "pink": (0.97, 0.60, 0.75),
    "brown": (0.50, 0.31, 0.18),
    "white": (0.98, 0.98, 0.98),
    "gray": (0.55, 0.55, 0.55),
    "black": (0.07, 0.07, 0.07),
}
COLOUR_NAMES = tuple(COLOURS)
COLOUR_TABLE = torch.tensor(list(COLOURS.values()))
NO_COLOUR = -1


@dataclass
class Rasters:
    """All rasters, with what is known about each."""

    pixels: Tensor
    labels: list[str]
    vendors: list[str]
    names: list[str]
    categories: list[str]
    monochrome: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def load_rasters(work: Path) -> Rasters:
    """Reads what `rasterise.py` wrote."""
    facts = json.loads((work / "rasters.json").read_text())
    return Rasters(
        pixels=torch.from_numpy(np.load(work / "rasters.npy")),
        labels=[f["label"] for f in facts],
        vendors=[f["vendor"] for f in facts],
        names=[f["name"] for f in facts],
        categories=[f["category"] for f in facts],
        monochrome=torch.tensor([f["monochrome"] for f in facts]),
    )


@dataclass
class Layout:
    """Where each sprite of a batch goes: centres and sizes as fractions of the picture."""

    rasters: Tensor
    centre_x: Tensor
    centre_y: Tensor
    size: Tensor
    paint: Tensor


class Composer:
    """Draws sprites on backgrounds, with the noise that makes each picture a new one."""

    def __init__(self, rasters: Rasters, generator: torch.Generator) -> None:
        self.rasters = rasters
        self.generator = generator

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Random numbers of this composer's own generator."""
        return torch.rand(*shape, generator=self.generator) * (high - low) + low

    def chance(self, count: int, probability: float) -> Tensor:
        """A random mask."""
        return self.uniform(count) < probability

    def backgrounds(self, count: int) -> tuple[Tensor, Tensor]:
        """Backgrounds, and the index of the named colour of those that are plain."""
        kind = self.uniform(count)
        named = torch.randint(len(COLOURS), (count,), generator=self.generator)
        plain = COLOUR_TABLE[named] + self.uniform(count, 3, low=-0.07, high=0.07)
        plain = torch.where((kind < 0.45)[:, None], torch.ones(count, 3), plain)
        named = torch.where(kind < 0.45, COLOUR_NAMES.index("white"), named)
        images = plain[:, :, None, None].expand(-1, -1, SIZE, SIZE).clone()

        pastel = (kind >= 0.65) & (kind < 0.75)
        images[pastel] = images[pastel] * 0.35 + 0.65
        for mask, cells in ((kind >= 0.75) & (kind < 0.88), 2), (kind >= 0.88, 5):
            found = int(mask.sum())
            if found:
                coarse = self.uniform(found, 3, cells, cells)
                images[mask] = F.interpolate(
                    coarse, size=(SIZE, SIZE), mode="bicubic", align_corners=True
                )
        return images.clamp(0, 1), torch.where(kind < 0.65, named, NO_COLOUR)

    def paints(self, count: int) -> Tensor:
        """A random named colour for each sprite that has none of its own."""
        return torch.randint(len(COLOURS), (count,), generator=self.generator)

    def recolour(self, sprites: Tensor, monochrome: Tensor, paint: Tensor) -> Tensor:
        """Gives monochrome sprites their paint and shifts the colours of the others a little."""
        count = len(sprites)
        alpha = sprites[:, 3:]
        painted = COLOUR_TABLE[paint] + self.uniform(count, 3, low=-0.06, high=0.06)
        painted = painted.clamp(0, 1)[:, :, None, None] * alpha
        light = self.uniform(count, 1, low=0.8, high=1.15)
        gain = self.uniform(count, 3, low=0.88, high=1.12) * light
        colour = sprites[:, :3] * gain[:, :, None, None]
        grey = colour.mean(1, keepdim=True)
        saturation = self.uniform(count, 1, 1, 1, low=0.6, high=1.25)
        colour = (grey + (colour - grey) * saturation).clamp(min=0)
        colour = torch.minimum(colour, alpha)
        return torch.cat([torch.where(monochrome[:, None, None, None], painted, colour), alpha], 1)

    def outline(self, sprites: Tensor, probability: float = 0.45) -> Tensor:
        """Draws dark lines round and inside some sprites, as in hand-drawn clip-art."""
        chosen = self.chance(len(sprites), probability).nonzero().flatten()
        if not len(chosen):
            return sprites
        part = sprites[chosen]
        inside, alpha = part[:, :3], part[:, 3:]
        thick = self.chance(len(part), 0.4)[:, None, None, None]
        grown = F.max_pool2d(alpha, 3, 1, 1)
        grown = torch.where(thick, F.max_pool2d(grown, 3, 1, 1), grown)
        edges = F.max_pool2d(inside, 3, 1, 1) + F.max_pool2d(-inside, 3, 1, 1)
        inner = ((edges.amax(1, keepdim=True) - 0.15) * 2.5).clamp(0, 1)
        inner = inner * self.chance(len(part), 0.6)[:, None, None, None]
        colour = inside * (1 - inner)
        sprites = sprites.clone()
        sprites[chosen] = torch.cat([torch.minimum(colour, alpha), torch.maximum(alpha, grown)], 1)
        return sprites

    def flatten_colours(self, sprites: Tensor, probability: float = 0.3) -> Tensor:
        """Leaves some sprites only a few levels of each colour, as in flat drawings."""
        chosen = self.chance(len(sprites), probability).nonzero().flatten()
        if not len(chosen):
            return sprites
        levels = self.uniform(len(chosen), 1, 1, 1, low=2.5, high=6.0)
        sprites = sprites.clone()
        alpha = sprites[chosen, 3:]
        flat = (sprites[chosen, :3] * levels).round() / levels
        sprites[chosen, :3] = torch.minimum(flat, alpha)
        return sprites

    def sprites(self, layout: Layout) -> Tensor:
        """Warps each sprite to its place in a picture of its own (premultiplied RGBA)."""
        count = len(layout.rasters)
        pixels = self.rasters.pixels[layout.rasters].permute(0, 3, 1, 2).float() / 255
        pixels[:, :3] *= pixels[:, 3:]
        pixels = self.recolour(pixels, self.rasters.monochrome[layout.rasters], layout.paint)
        small = layout.size < 0.5
        if bool(small.any()):
            smooth = F.interpolate(F.avg_pool2d(pixels[small], 2), scale_factor=2.0, mode="nearest")
            pixels[small] = smooth
        angle = torch.randn(count, generator=self.generator) * math.radians(9)
        angle = torch.where(self.chance(count, 0.6), angle.clamp(-0.5, 0.5), 0.0)
        squeeze = self.uniform(count, low=-0.12, high=0.12).exp()
        shear = torch.where(self.chance(count, 0.3), self.uniform(count, low=-0.2, high=0.2), 0.0)
        flip = torch.where(self.chance(count, 0.5), -1.0, 1.0)
        zoom_x, zoom_y = 1 / (layout.size * squeeze), squeeze / layout.size
        cos, sin = angle.cos(), angle.sin()
        x0, y0 = layout.centre_x * 2 - 1, layout.centre_y * 2 - 1
        a, b = cos * zoom_x * flip, (sin + shear) * zoom_x * flip
        c, d = -sin * zoom_y, cos * zoom_y
        theta = torch.stack(
            [
                torch.stack([a, b, -(a * x0 + b * y0)], 1),
                torch.stack([c, d, -(c * x0 + d * y0)], 1),
            ],
            1,
        )
        grid = F.affine_grid(theta, [count, 4, SIZE, SIZE], align_corners=False)
        return F.grid_sample(pixels, grid, align_corners=False, padding_mode="zeros")

    def finish(self, images: Tensor) -> Tensor:
        """Adds what cameras and files add: contrast, blur and noise."""
        count = len(images)
        images = images + self.uniform(count, 1, 1, 1, low=-0.08, high=0.08)
        blurred = self.chance(count, 0.15)
        if bool(blurred.any()):
            images[blurred] = F.interpolate(
                F.avg_pool2d(images[blurred], 2), scale_factor=2.0, mode="bilinear"
            )
        blocky = self.chance(count, 0.1)
        if bool(blocky.any()):
            images[blocky] = quantise_blocks(images[blocky])
        strength = self.uniform(count, 1, 1, 1) ** 4 * 0.12
        noise = torch.randn(images.shape, generator=self.generator)
        return (images + noise * strength).clamp(0, 1)

    def compose(self, layouts: list[Layout]) -> tuple[Tensor, Tensor]:
        """Pictures (0 to 1) with the layouts' sprites one over the other, and plain colours."""
        images, colours = self.backgrounds(len(layouts[0].rasters))
        for layout in layouts:
            hidden = layout.paint == colours
            layout.paint = torch.where(hidden, (layout.paint + 5) % len(COLOURS), layout.paint)
            sprite = self.outline(self.flatten_colours(self.sprites(layout)))
            shown = (layout.rasters >= 0)[:, None, None, None]
            over = sprite[:, :3] + images * (1 - sprite[:, 3:])
            images = torch.where(shown, over, images)
        return self.finish(images), colours

    def single(self, rasters: Tensor) -> Layout:
        """One thing somewhere near the middle, nearly always large."""
        count = len(rasters)
        size = self.uniform(count, low=0.55, high=1.0)
        size = torch.where(self.chance(count, 0.15), self.uniform(count, low=0.35, high=0.6), size)
        room = (1 - size).clamp(min=0) / 2 + 0.04
        x = 0.5 + self.uniform(count, low=-1, high=1) * room
        y = 0.5 + self.uniform(count, low=-1, high=1) * room
        return Layout(rasters, x, y, size, self.paints(count))

    def row(self, rasters: Tensor, place: int, places: int) -> Layout:
        """A thing at one of several places side by side."""
        count = len(rasters)
        width = 1 / places
        size = self.uniform(count, low=0.75, high=1.0) * min(width * 1.05, 0.55)
        x = (place + 0.5) * width + self.uniform(count, low=-0.03, high=0.03)
        y = 0.5 + self.uniform(count, low=-0.5, high=0.5) * (0.9 - size).clamp(min=0)
        return Layout(rasters, x, y, size, self.paints(count))


def lab(colours: Tensor) -> Tensor:
    """Converts sRGB to CIE Lab, where distances are about those that people see."""
    linear = torch.where(colours > 0.04045, ((colours + 0.055) / 1.055) ** 2.4, colours / 12.92)
    to_xyz = torch.tensor(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = linear @ to_xyz.T / torch.tensor([0.9505, 1.0, 1.089])
    root = torch.where(xyz > 0.008856, xyz.clamp(min=1e-6) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = root.unbind(-1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def dominant_colours(rasters: Rasters, share: float = 0.6) -> Tensor:
    """For each raster the named colour that most of it has, or NO_COLOUR."""
    table = lab(COLOUR_TABLE)
    found = []
    for part in rasters.pixels[:, ::4, ::4].split(512):
        pixels = part.flatten(1, 2).float() / 255
        opaque = (pixels[..., 3:] > 0.5).float()
        nearest = torch.cdist(lab(pixels[..., :3]), table.expand(len(part), -1, -1)).argmin(-1)
        votes = (F.one_hot(nearest, len(COLOURS)) * opaque).sum(1)
        best, index = votes.max(1)
        clear = best >= share * opaque.sum((1, 2)).clamp(min=1)
        found.append(torch.where(clear, index, NO_COLOUR))
    return torch.cat(found)


def cosine_matrix(size: int = 8) -> Tensor:
    """The orthonormal discrete cosine transform that JPEG uses."""
    n = torch.arange(size)
    matrix = torch.cos(math.pi * (2 * n[None] + 1) * n[:, None] / (2 * size))
    matrix[0] *= math.sqrt(0.5)
    return matrix * math.sqrt(2 / size)


def quantise_blocks(images: Tensor, step: float = 0.12) -> Tensor:
    """Coarsens 8 by 8 blocks as a strong JPEG does."""
    count = len(images)
    basis = cosine_matrix()
    blocks = images.reshape(count, 3, SIZE // 8, 8, SIZE // 8, 8).transpose(3, 4)
    spectrum = basis @ blocks @ basis.T
    frequency = torch.arange(8)
    weight = step * (1 + (frequency[:, None] + frequency[None]) / 2)
    blocks = basis.T @ ((spectrum / weight).round() * weight) @ basis
    return blocks.transpose(3, 4).reshape(count, 3, SIZE, SIZE)


def normalise(images: Tensor) -> Tensor:
    """What the image processor does last: from 0…1 to -1…1."""
    return images * 2 - 1
