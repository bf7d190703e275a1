"""Items that wait to be embedded, and the batches that are made of them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import count
from operator import itemgetter

from ..protocol.shared_array import SharedArray
from ..system.log_context import request_id
from .embedder_messages import Embedding, EmbedImages, EmbedTexts, ToEmbedder

_MAX_ITEMS = 32
#: Of the pictures of one batch, which are copied to the embedder's process.
_MAX_BYTES = 128 * 2**20
#: Of the texts of one batch: open_clip's own tokenizer takes a second for 8 KiB without a space.
_MAX_TEXT_BYTES = 2**14


@dataclass(frozen=True)
class Job:
    """A text or a picture, and its embedding to be. client: who asks for it. request_id: of the
    request that it is for, for the log."""

    item: str | SharedArray
    client: str
    result: asyncio.Future[Embedding]
    request_id: str = field(default_factory=request_id)

    @property
    def num_bytes(self) -> int:
        """Of the text in UTF-8, or the picture."""
        item = self.item
        return item.num_bytes if isinstance(item, SharedArray) else len(item.encode())


class BatchQueue:
    """A batch begins with the item that has waited longest, and takes others of its kind, by
    turns between clients."""

    def __init__(self) -> None:
        self._jobs: list[Job] = []

    def add(self, job: Job) -> None:
        """To the end."""
        self._jobs.append(job)

    def take_batch(self) -> list[Job]:
        """Texts or pictures, up to 32; empty if nothing waits. What nobody waits for any more
        is dropped."""
        jobs = [job for job in self._jobs if not job.result.done()]
        batch: list[Job] = []
        num_bytes = 0
        is_text = bool(jobs) and isinstance(jobs[0].item, str)
        max_bytes = _MAX_TEXT_BYTES if is_text else _MAX_BYTES
        for job in _by_turns(jobs):
            if type(job.item) is not type(jobs[0].item):
                continue
            num_bytes += job.num_bytes
            if batch and (len(batch) == _MAX_ITEMS or num_bytes > max_bytes):
                break
            batch.append(job)
        taken = set(map(id, batch))
        self._jobs = [job for job in jobs if id(job) not in taken]
        return batch

    def take_all(self) -> list[Job]:
        """Everything that waits."""
        jobs, self._jobs = self._jobs, []
        return jobs


def _by_turns(jobs: list[Job]) -> list[Job]:
    """The first of each client, then the second of each, and so on."""
    of_client: defaultdict[str, count[int]] = defaultdict(count)
    turns = [(next(of_client[job.client]), job) for job in jobs]
    return [job for _, job in sorted(turns, key=itemgetter(0))]


def to_message(batch: list[Job]) -> ToEmbedder:
    """As the embedder's process takes it."""
    texts = [job.item for job in batch if isinstance(job.item, str)]
    pictures = [job.item for job in batch if isinstance(job.item, SharedArray)]
    ids = [job.request_id for job in batch]
    return EmbedTexts(texts, ids) if texts else EmbedImages(pictures, ids)
