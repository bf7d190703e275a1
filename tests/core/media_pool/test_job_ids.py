"""What is logged of a picture names the request that it is for, in whichever thread or process."""

from __future__ import annotations

import io
import socket

import pytest
from json_log import json_log
from octavo.core.media_pool.host import WorkerDiedError
from octavo.core.media_pool.jobs import DecodeJob, InspectJob, Job, Refused, WorkerSettings
from octavo.core.media_pool.pool import WorkerLane
from octavo.core.media_pool.worker import Worker
from octavo.core.process.wire import Connection
from octavo.core.protocol.media_error import MediaError
from octavo.core.protocol.media_limits import MediaLimits
from octavo.core.protocol.shared_array import SharedArray
from octavo.core.system.log_context import about_requests
from PIL import Image

SETTINGS = WorkerSettings(None, "auto", MediaLimits(), (0, 0, 0))


def file() -> SharedArray:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return SharedArray.of_file(buffer.getvalue())


def test_a_worker_logs_whose_picture_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("a fault of the decoder")

    monkeypatch.setattr("octavo.core.media_pool.worker.decode_image", fail)
    ours, theirs = socket.socketpair()
    connection = Connection[object](ours, object, forwards=True)
    for job in (InspectJob(file(), "req-1"), DecodeJob(file(), "req-2"), DecodeJob(file())):
        connection.send(connection.encode(job))
    ours.shutdown(socket.SHUT_WR)
    with theirs, json_log() as lines:
        Worker(SETTINGS).run(Connection(theirs, Job))
    assert [line.get("request_id") for line in lines()] == ["req-2", None]
    ours.close()


class NoHost:
    """Has no processes to give."""

    def fork(self) -> None:
        raise WorkerDiedError("none is left")


def test_a_lane_logs_whose_job_it_could_not_do() -> None:
    lane = WorkerLane("test", NoHost(), 1, 4, 1.0)  # type: ignore[arg-type]
    with json_log() as lines:
        with about_requests("req-1"):
            first = lane.submit(DecodeJob(file()))
        second = lane.submit(DecodeJob(file()))
        for future in (first, second):
            with pytest.raises(MediaError, match="can't be read right now"):
                future.result(60)
    assert [line.get("request_id") for line in lines()] == ["req-1", None]
    lane.close()
    lane.join()


def test_refused_is_no_line() -> None:
    with json_log() as lines:
        answer = Worker(SETTINGS).answer(DecodeJob(SharedArray.of_file(b"no picture"), "req-1"))
    assert isinstance(answer, Refused)
    assert not lines()
