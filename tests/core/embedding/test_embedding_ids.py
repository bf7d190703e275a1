"""What the embedder logs of an item names the request that it is for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import torch
from json_log import json_log
from octavo.core.embedding.batch_queue import Job, to_message
from octavo.core.embedding.embedding_process import answer
from octavo.core.system.log_context import about_requests
from torch import Tensor


class Embedder:
    """Fails on batches with a certain text."""

    def embed_texts(self, texts: Sequence[str]) -> list[Tensor]:
        if "bad" in texts:
            raise RuntimeError("no such word")
        return [torch.ones(2) for _ in texts]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [1 for _ in texts]


async def jobs() -> list[Job]:
    found = []
    for number, text in enumerate(("good", "bad", "better", "bad")):
        with about_requests(f"req-{number}"):
            found.append(Job(text, "client", asyncio.get_running_loop().create_future()))
    return found


def test_items_that_fail_are_logged_with_their_requests() -> None:
    batch = to_message(asyncio.run(jobs()))
    with json_log() as lines:
        embedded = answer(Embedder(), batch)  # type: ignore[arg-type]
    assert [bool(embedding.failure) for embedding in embedded.embeddings] == [False, True] * 2
    assert [line["request_id"] for line in lines()] == ["req-1", "req-3"]
    assert all("no such word" in line["exception"] for line in lines())
