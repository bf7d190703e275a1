"""The pool of image workers: real processes, killed, stopped and flooded."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Iterator
from pathlib import Path

import numpy as np
import pytest
from octavo.app import DEMO_MODEL
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from octavo.core.media_pool.image_reader import ImageReader
from octavo.core.media_pool.jobs import DecodeJob, WorkerSettings
from octavo.core.media_pool.pool_size import PoolSize
from octavo.core.models.model_choice import choose_model
from octavo.core.prompts.prompt_images import load_preprocessor
from octavo.core.protocol.media_error import MediaError
from octavo.core.protocol.media_limits import MediaLimits
from octavo.core.protocol.shared_array import SharedArray
from octavo.core.registry.registry import get_registry
from PIL import Image

MAX_QUEUED, TIMEOUT = 4, 2.0
LIMITS = MediaLimits(max_pixels=10_000)


def png(seed: int, size: tuple[int, int] = (40, 30)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def stages() -> Counter[str]:
    return Counter()


@pytest.fixture(scope="module")
def reader(stages: Counter[str]) -> Iterator[ImageReader]:
    settings = WorkerSettings(DEMO_MODEL, "auto", LIMITS, (255, 255, 255))
    size = PoolSize(1, MAX_QUEUED, TIMEOUT)
    pool = ImageReader(settings, size, lambda stage, seconds: stages.update([stage]))
    yield pool
    pool.stop()
    assert not workers(pool)


def workers(reader: ImageReader) -> list[int]:
    """The processes that the host has forked and that still live."""
    host = reader._host._process.pid
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines())
        except (OSError, ValueError):
            continue
        if fields["PPid"] == str(host) and not fields["State"].startswith("Z"):
            found.append(int(fields["Pid"]))
    return found


def decoder_of(reader: ImageReader) -> int:
    """The process of the one picture worker; the other, if there is one, reads headers."""
    before = set(workers(reader))
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    asyncio.run(reader.decode(SharedArray.of_file(png(0))))
    (pid,) = set(workers(reader)) - before
    return pid


def test_headers_pixels_and_pictures(reader: ImageReader, stages: Counter[str]) -> None:
    data = png(1)
    assert asyncio.run(reader.inspect(SharedArray.of_file(data))) == (40, 30)
    picture = asyncio.run(reader.decode(SharedArray.of_file(data)))
    np.testing.assert_array_equal(picture, np.asarray(Image.open(io.BytesIO(data))))
    prepared = asyncio.run(reader.prepare(SharedArray.of_file(data), 1, None))
    checkpoint, registry = find_checkpoint(DEMO_MODEL), get_registry()
    spec = choose_model(checkpoint.config, registry, "auto")
    wanted = load_preprocessor(spec, checkpoint, registry).preprocess(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(prepared.pixels.array, wanted.pixel_values)
    assert stages == {"inspect": 1, "decode": 2, "preprocess": 1, "pool": 2}


@pytest.mark.parametrize("bad", [b"no image", png(2)[:-900], png(2, (200, 200))])
def test_a_bad_image_is_refused_and_its_worker_goes_on(reader: ImageReader, bad: bytes) -> None:
    pid = decoder_of(reader)
    with pytest.raises(MediaError) as caught:
        asyncio.run(reader.prepare(SharedArray.of_file(bad), 1, None))
    assert caught.value.kind == "invalid"
    asyncio.run(reader.decode(SharedArray.of_file(png(3))))
    assert pid in workers(reader)


def test_a_worker_that_hangs_costs_one_image(reader: ImageReader) -> None:
    pid = decoder_of(reader)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(MediaError, match="its decoder failed \\(no answer within 2 s\\)"):
        asyncio.run(reader.decode(SharedArray.of_file(png(4))))
    assert asyncio.run(reader.decode(SharedArray.of_file(png(4)))).shape == (30, 40, 3)
    assert pid not in workers(reader)


def test_a_worker_that_dies_idle_costs_nothing_and_one_at_work_its_image(
    reader: ImageReader,
) -> None:
    os.kill(decoder_of(reader), signal.SIGKILL)
    assert asyncio.run(reader.decode(SharedArray.of_file(png(5)))).shape == (30, 40, 3)

    async def kill_at_work() -> None:
        pid = decoder
        os.kill(pid, signal.SIGSTOP)
        answer = asyncio.ensure_future(reader.decode(SharedArray.of_file(png(6))))
        await asyncio.sleep(0.2)
        os.kill(pid, signal.SIGKILL)
        # It might have died before it had the image, which so gets another chance.
        assert (await answer).shape == (30, 40, 3)

    decoder = decoder_of(reader)
    asyncio.run(kill_at_work())


def test_a_full_queue_refuses_and_what_waits_is_answered(reader: ImageReader) -> None:
    pid = decoder_of(reader)
    os.kill(pid, signal.SIGSTOP)
    lane = reader._pictures
    running = lane.submit(DecodeJob(SharedArray.of_file(png(7))))
    while not running.running():
        time.sleep(0.01)
    waiting = [lane.submit(DecodeJob(SharedArray.of_file(png(i)))) for i in range(MAX_QUEUED)]
    with pytest.raises(MediaError, match="4 images wait") as caught:
        lane.submit(DecodeJob(SharedArray.of_file(png(8))))
    assert caught.value.kind == "busy"
    os.kill(pid, signal.SIGCONT)
    for future in (running, *waiting):
        assert future.result(10) is not None


def test_headers_are_read_while_pictures_wait(reader: ImageReader) -> None:
    asyncio.run(reader.inspect(SharedArray.of_file(png(9))))
    pid = decoder_of(reader)
    os.kill(pid, signal.SIGSTOP)
    blocked = reader._pictures.submit(DecodeJob(SharedArray.of_file(png(9))))
    assert asyncio.run(reader.inspect(SharedArray.of_file(png(10)))) == (40, 30)
    assert not blocked.done()
    os.kill(pid, signal.SIGCONT)
    assert blocked.result(10) is not None


def test_a_host_that_died_is_started_again_and_says_when(reader: ImageReader) -> None:
    host = reader._host._process
    os.kill(host.pid, signal.SIGKILL)
    refused: list[MediaError] = []
    answer: object = None
    deadline = time.monotonic() + 60
    # Its workers end with it, and may have answered before.
    while not refused or isinstance(answer, MediaError):
        if time.monotonic() > deadline:
            pytest.fail("the host did not come back")
        (answer,) = asyncio.run(together_or_not(reader.decode(SharedArray.of_file(png(11)))))
        if isinstance(answer, MediaError):
            refused.append(answer)
        time.sleep(0.05)
    assert {answer.kind for answer in refused} == {"busy"}
    for refusal in refused:
        assert refusal.retry_after is not None
        assert f"send it again in {refusal.retry_after} s" in str(refusal)
    assert reader._host._process.pid != host.pid


def test_a_host_that_hangs_is_started_again(stages: Counter[str]) -> None:
    settings = WorkerSettings(None, "auto", LIMITS, (255, 255, 255))
    reader = ImageReader(settings, PoolSize(1), lambda stage, seconds: None, stall_timeout=0.5)
    try:
        asyncio.run(reader.wait_until_ready())
        host = reader._host._process
        os.kill(host.pid, signal.SIGSTOP)
        assert host.wait(60) == -signal.SIGKILL
        deadline = time.monotonic() + 60
        while isinstance(
            asyncio.run(together_or_not(reader.decode(SharedArray.of_file(png(12)))))[0], MediaError
        ):
            if time.monotonic() > deadline:
                pytest.fail("the host did not come back")
            time.sleep(0.05)
    finally:
        reader.stop()


async def together_or_not(*jobs: Awaitable[object]) -> list[object]:
    """What each gives or raises."""
    return await asyncio.gather(*jobs, return_exceptions=True)
