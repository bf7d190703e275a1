"""How often an image is copied between processes: its file once, its pixel values never again."""

from __future__ import annotations

import asyncio
import io
import os
import re
import socket
from pathlib import Path

import numpy as np
import pytest
from octavo.app import DEMO_MODEL
from octavo.core.media_pool.image_reader import ImageReader
from octavo.core.media_pool.jobs import WorkerSettings
from octavo.core.media_pool.pool_size import PoolSize
from octavo.core.process.wire import Connection
from octavo.core.protocol.media_limits import MediaLimits
from octavo.core.protocol.messages import MediaInput, PixelInput
from octavo.core.protocol.shared_array import SharedArray
from PIL import Image


def mapped() -> set[str]:
    """The inodes of the memories that this process sees."""
    maps = Path("/proc/self/maps").read_text()
    return set(re.findall(r" (\d+) +/memfd:octavo-arrays", maps))


def test_a_file_crosses_once_and_pixels_are_forwarded(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    make = os.memfd_create
    monkeypatch.setattr(os, "memfd_create", lambda name: made.append(name) or make(name))
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    settings = WorkerSettings(DEMO_MODEL, "auto", MediaLimits(), (255, 255, 255))
    reader = ImageReader(settings, PoolSize(1), lambda stage, seconds: None)
    ours, theirs = socket.socketpair()
    server: Connection[MediaInput] = Connection(ours, MediaInput)
    engine: Connection[MediaInput] = Connection(theirs, MediaInput)
    try:
        file = SharedArray.of_file(buffer.getvalue())
        assert asyncio.run(reader.inspect(file)) == (80, 60)
        before = mapped()
        payload = asyncio.run(reader.prepare(file, 1, None))
        assert len(made) == 1, "the file was copied once for both processes"
        (memory,) = mapped() - before
        server.send(server.encode(MediaInput("key", 64, payload)))
        received = engine.receive()
        assert received is not None
        assert isinstance(received.payload, PixelInput)
        np.testing.assert_array_equal(received.payload.pixels.array, payload.pixels.array)
        assert len(made) == 1, "pixel values were copied"
        assert mapped() - before == {memory}
        # What is made from the file later needs it again, and is given it.
        again = asyncio.run(reader.decode(file))
        np.testing.assert_array_equal(again, pixels)
        assert len(made) == 2
        del received, payload, again
        assert memory not in mapped()
    finally:
        reader.stop()
        server.close()
        engine.close()


def test_what_lies_in_more_memories_than_may_be_sent_is_copied() -> None:
    def sent(items: list[SharedArray], forwards: bool = False) -> list[SharedArray]:
        ours, theirs = socket.socketpair()
        sender: Connection[list[SharedArray]] = Connection(ours, list[SharedArray])
        receiver: Connection[list[SharedArray]] = Connection(theirs, list[SharedArray], forwards)
        sender.send(sender.encode(items))
        received = receiver.receive()
        sender.close()
        receiver.close()
        assert received is not None
        return received

    descriptors = len(os.listdir("/proc/self/fd"))
    arrays = [np.arange(i, dtype=np.float32) for i in range(1, 201)]
    apart = [sent([SharedArray(array)], forwards=True)[0] for array in arrays]
    pairs = sent([SharedArray(arrays[0]), SharedArray(arrays[1])], forwards=True)
    received = sent([*pairs, *apart, SharedArray(arrays[7]), *pairs])
    wanted = [*arrays[:2], *arrays, arrays[7], *arrays[:2]]
    for got, array in zip(received, wanted, strict=True):
        np.testing.assert_array_equal(got.array, array)
    del got, apart, pairs, received
    assert len(os.listdir("/proc/self/fd")) == descriptors
