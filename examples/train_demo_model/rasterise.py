"""Draws all training pictures once as small RGBA rasters, kept in one file."""

import argparse
import io
import json
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import resvg_py
from model import IMAGE_SIZE
from PIL import Image
from sources import Picture, training_pictures

RASTER = IMAGE_SIZE * 5 // 4
DRAWN = 2 * RASTER


def open_picture(picture: Picture, size: int) -> Image.Image:
    """Decodes or draws a picture as RGBA, its longer side `size` pixels."""
    if picture.path.endswith((".webp", ".png")):
        return Image.open(picture.path).convert("RGBA")
    source = {"svg_path": picture.path} if picture.path else {"svg_string": picture.svg}
    return Image.open(io.BytesIO(resvg_py.svg_to_bytes(width=size, **source))).convert("RGBA")


def fit(image: Image.Image, size: int) -> np.ndarray | None:
    """Crops to what is drawn and centres it in a square; None where nothing is drawn."""
    box = image.getchannel("A").point(lambda a: 255 if a > 8 else 0).getbbox()
    if box is None or min(box[2] - box[0], box[3] - box[1]) < 4:
        return None
    image = image.crop(box)
    image.thumbnail((size - 4, size - 4), Image.Resampling.LANCZOS)
    if max(image.size) < size - 4:
        factor = (size - 4) / max(image.size)
        shape = (max(1, int(image.width * factor)), max(1, int(image.height * factor)))
        image = image.resize(shape, Image.Resampling.BICUBIC)
    square = Image.new("RGBA", (size, size))
    square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return np.asarray(square)


def draw(picture: Picture) -> np.ndarray | None:
    """The raster of one picture; None where it cannot be drawn."""
    try:
        return fit(open_picture(picture, DRAWN), RASTER)
    except (ValueError, OSError):
        return None


def draw_all(pictures: Iterable[Picture], workers: int = 2) -> tuple[np.ndarray, list[Picture]]:
    """Draws pictures in parallel and leaves out those that fail."""
    listed = list(pictures)
    with ProcessPoolExecutor(workers) as pool:
        rasters = list(pool.map(draw, listed, chunksize=32))
    kept = [i for i, raster in enumerate(rasters) if raster is not None]
    return np.stack([rasters[i] for i in kept]), [listed[i] for i in kept]


def main() -> None:
    """Writes `rasters.npy` and `rasters.json` into the work folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    work: Path = parser.parse_args().work
    rasters, pictures = draw_all(training_pictures(work))
    np.save(work / "rasters.npy", rasters)
    facts = [{k: v for k, v in asdict(p).items() if k not in ("svg", "path")} for p in pictures]
    (work / "rasters.json").write_text(json.dumps(facts))
    print(f"{len(pictures)} rasters, {len({p.label for p in pictures})} labels")


if __name__ == "__main__":
    main()
