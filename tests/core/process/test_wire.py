"""Messages between processes arrive as they were sent, pixels through shared memory."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
from octavo.core.process.wire import Connection
from octavo.core.protocol.messages import (
    Abort,
    EngineRequest,
    FeatureInput,
    MediaInput,
    MediaSpan,
    PixelInput,
)
from octavo.core.protocol.sampling_params import SamplingParams
from octavo.core.protocol.shared_array import SharedArray

Message = EngineRequest | Abort


def make_message(num_images: int, size: int = 9) -> EngineRequest:
    generator = np.random.default_rng(0)
    media = [
        MediaInput(
            f"key{i}",
            4,
            PixelInput(
                SharedArray(generator.standard_normal((3, size, size + i)).astype(np.float32)),
                (i, 7),
            ),
        )
        for i in range(num_images)
    ]
    spans = [MediaSpan(10 * i, 4, f"key{i}") for i in range(num_images)]
    params = SamplingParams(n=2, stop=("a", "b"), logit_bias={7: 1.5}, allowed_token_ids=(1, 7))
    return EngineRequest(
        "r", [1, 2, 3], params, spans, media, 1.25, [[4, 5]], [(0, 3)], 3, "salt", None, 2.5
    )


@pytest.mark.parametrize("num_images", [0, 1, 3])
def test_a_request_survives_the_way(num_images: int) -> None:
    ours, theirs = socket.socketpair()
    sender: Connection[Message] = Connection(ours, Message)
    receiver: Connection[Message] = Connection(theirs, Message)
    sent = make_message(num_images)
    sender.send(sender.encode(sent))
    sender.send(sender.encode(Abort("r", 1)))
    received = receiver.receive()
    assert isinstance(received, EngineRequest)
    assert received.sampling_params == sent.sampling_params
    assert received.spans == sent.spans
    for before, after in zip(sent.media, received.media, strict=True):
        assert (after.media_key, after.num_features) == (before.media_key, before.num_features)
        assert isinstance(after.payload, PixelInput)
        assert isinstance(before.payload, PixelInput)
        assert after.payload.layout == before.payload.layout
        np.testing.assert_array_equal(after.payload.pixels.array, before.payload.pixels.array)
    assert receiver.receive() == Abort("r", 1)
    sender.close()
    assert receiver.receive() is None
    receiver.close()


@pytest.mark.parametrize("array", [np.zeros((0, 4), np.uint16), np.arange(7, dtype=np.uint8)])
def test_arrays_of_any_kind_and_none_at_all(array: np.ndarray) -> None:
    ours, theirs = socket.socketpair()
    sender: Connection[MediaInput] = Connection(ours, MediaInput)
    receiver: Connection[MediaInput] = Connection(theirs, MediaInput)
    for payload in (FeatureInput("bfloat16", SharedArray(array), "request"), None):
        sender.send(sender.encode(MediaInput("key", 4, payload)))
        received = receiver.receive()
        assert received is not None
        if payload is None:
            assert received.payload is None
        else:
            assert isinstance(received.payload, FeatureInput)
            assert received.payload.features.array.dtype == array.dtype
            np.testing.assert_array_equal(received.payload.features.array, array)
    sender.close()
    receiver.close()


def test_shared_memory_is_given_back() -> None:
    """Neither end keeps a descriptor or a mapping once the arrays are gone."""
    ours, theirs = socket.socketpair()
    sender: Connection[Message] = Connection(ours, Message)
    receiver: Connection[Message] = Connection(theirs, Message)

    def count() -> tuple[int, int]:
        maps = Path("/proc/self/maps").read_text()
        return len(os.listdir("/proc/self/fd")), maps.count("octavo-arrays")

    before = count()
    message = make_message(2, size=300)
    for _ in range(20):
        thread = threading.Thread(target=sender.send, args=(sender.encode(message),))
        thread.start()
        received = receiver.receive()
        thread.join()
    assert count()[1] == before[1] + 1
    del received
    assert count() == before
    sender.close()
    receiver.close()
