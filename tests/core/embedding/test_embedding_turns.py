"""Clients take turns in the batches of an embedder."""

from __future__ import annotations

import asyncio

import numpy as np
from octavo.core.embedding.batch_queue import BatchQueue, Job
from octavo.core.protocol.shared_array import SharedArray

PICTURE = SharedArray(np.zeros((1, 1, 3), dtype=np.uint8))


def batches(given: list[tuple[str, str | SharedArray]]) -> list[list[str]]:
    """Whose items each batch has."""
    loop = asyncio.new_event_loop()
    try:
        queue = BatchQueue()
        for client, item in given:
            queue.add(Job(item, client, loop.create_future()))
        found = []
        while batch := queue.take_batch():
            found.append([job.client for job in batch])
        return found
    finally:
        loop.close()


def test_one_text_does_not_wait_for_300_of_another_client() -> None:
    found = batches([("a", f"text {i}") for i in range(300)] + [("b", "text")])
    assert found[0] == ["a", "b", *"a" * 30]
    assert sum(map(len, found)) == 301


def test_a_batch_of_texts_is_bounded_in_bytes() -> None:
    """As some tokenizers take a time that grows with the square of a word's length."""
    found = batches([("a", "é" * 2**12)] * 5 + [("b", "text")])
    assert found == [["a", "b"], ["a", "a"], ["a", "a"]]


def test_a_batch_begins_with_what_has_waited_longest() -> None:
    given: list[tuple[str, str | SharedArray]] = [("a", PICTURE), ("a", PICTURE), ("b", "text")]
    assert batches(given) == [["a", "a"], ["b"]]
