"""Pictures of a visit by what they show: their embeddings, and which are nearest to another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..parts.picture_drop import read_picture
from ..parts.picture_parts import unplaced
from ..server.server_api import ServerApi, ServerError

#: Vectors of one visit that are held: 2,000 of 1,024 numbers are 8 MiB.
MOST_PICTURES = 2000
#: Pictures that are with the server at once. It forms the batches, and one that is broken has a
#: request, and so an error, of its own.
_AT_ONCE = 8


@dataclass
class PictureIndex:
    """vectors: of length 1, by the picture's file. Gradio names the folder of a file after its
    content. broken: why a picture has none. left_out: how many were beyond the bound."""

    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    left_out: int = 0

    async def add(
        self, server: ServerApi, model: str, paths: Iterable[str]
    ) -> AsyncGenerator[tuple[int, int]]:
        """How many of how many new pictures are done, whenever one is. Closing the generator leaves
        the rest out."""
        new = [path for path in dict.fromkeys(paths) if path not in self.vectors]
        room = max(MOST_PICTURES - len(self.vectors), 0)
        self.left_out = len(new[room:])
        new = new[:room]
        slots = asyncio.Semaphore(_AT_ONCE)

        async def embed(path: str) -> None:
            async with slots:
                self.broken.pop(path, None)
                try:
                    self.vectors[path] = await embedding(server, model, await read_picture(path))
                except ServerError as error:
                    self.broken[path] = unplaced(error)

        tasks = [asyncio.create_task(embed(path)) for path in new]
        try:
            for done, task in enumerate(asyncio.as_completed(tasks)):
                yield done, len(new)
                await task
            yield len(new), len(new)
        finally:
            for one in tasks:
                one.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def nearest(self, vector: NDArray[np.float32], count: int) -> list[tuple[str, float]]:
        """The pictures of the highest cosine, best first, with it."""
        paths = [path for path in self.vectors if Path(path).exists()]
        if not paths:
            return []
        scores = np.stack([self.vectors[path] for path in paths]) @ vector
        best = np.argsort(-scores, kind="stable")[:count]
        return [(paths[i], float(scores[i])) for i in best]


async def embedding(server: ServerApi, model: str, given: Any) -> NDArray[np.float32]:
    """Of a text or a part, of length 1. Raises ServerError."""
    (found,) = await server.embed([given], model)
    vector = np.asarray(found, np.float32)
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
