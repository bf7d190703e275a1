"""A bounded pool of processes that read images."""

from __future__ import annotations

import logging
import queue
import threading
from concurrent.futures import Future

import msgspec

from ..protocol.media_error import MediaError
from ..system.log_context import about_requests, request_id
from .host import WorkerDiedError, WorkerHandle, WorkerHost
from .jobs import Answer, Job, Refused

logger = logging.getLogger(__name__)

_NOT_NOW = "images can't be read right now; send it again later"


class WorkerLane:
    """Workers with a queue of their own; a thread for each hands it one job after another.

    timeout: seconds that one job may take; a worker that takes longer is killed.
    """

    def __init__(
        self, name: str, host: WorkerHost, num_workers: int, max_queued: int, timeout: float
    ) -> None:
        self._host = host
        self._timeout = timeout
        self._jobs: queue.Queue[tuple[Job, Future[Answer]] | None] = queue.Queue(max_queued)
        self._threads = [
            threading.Thread(target=self._work, name=f"octavo-{name}-{i}", daemon=True)
            for i in range(num_workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> Future[Answer]:
        """A job's answer, later: never Refused, which is a MediaError of the future.

        Raises MediaError if too many jobs wait already.
        """
        future: Future[Answer] = Future()
        try:
            named = msgspec.structs.replace(job, request_id=request_id())
            self._jobs.put_nowait((named, future))
        except queue.Full:
            raise MediaError(
                f"{self._jobs.maxsize} images wait to be read already; send it again later", "busy"
            ) from None
        return future

    def close(self) -> None:
        """Take no more jobs and drop those that wait; what runs is not waited for."""
        while True:
            try:
                item = self._jobs.get_nowait()
            except queue.Empty:
                break
            if item is not None:
                item[1].cancel()
        for _ in self._threads:
            self._jobs.put(None)

    def join(self) -> None:
        """Wait for the threads, once the workers are gone or done."""
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        worker: WorkerHandle | None = None
        while (item := self._jobs.get()) is not None:
            job, future = item
            if future.set_running_or_notify_cancel():
                with about_requests(job.request_id):
                    worker = self._do(job, future, worker)
        if worker is not None:
            worker.close()

    def _do(
        self, job: Job, future: Future[Answer], worker: WorkerHandle | None
    ) -> WorkerHandle | None:
        """Have a job done; returns the worker that can do another."""
        try:
            answer, worker = self._ask(job, worker)
        except MediaError as error:
            future.set_exception(error)
            return None
        except Exception as error:  # such as too many open files; the thread must go on
            logger.exception("an image could not be handed to a process")
            future.set_exception(MediaError(f"{_NOT_NOW}: {error}", "busy"))
            return None
        if isinstance(answer, Refused):
            future.set_exception(MediaError(answer.message))
        else:
            future.set_result(answer)
        return worker

    def _ask(self, job: Job, worker: WorkerHandle | None) -> tuple[Answer, WorkerHandle]:
        """Raises MediaError if the job ends its process, or there is none for it."""
        if worker is not None:
            try:
                return worker.ask(job, self._timeout), worker
            except WorkerDiedError as error:
                if error.hangs:
                    worker.kill()
                    raise _failed(error) from error
                worker.close()
                # It may have ended before it had the job.
        try:
            worker = self._host.fork()
        except WorkerDiedError as error:
            logger.warning("no process to read images with: %s", error)
            raise _not_now(error) from error
        try:
            return worker.ask(job, self._timeout), worker
        except WorkerDiedError as error:
            (worker.kill if error.hangs else worker.close)()
            raise _failed(error) from error


def _not_now(error: WorkerDiedError) -> MediaError:
    if error.retry_after is None:
        return MediaError(_NOT_NOW, "busy")
    message = f"images can't be read right now, as {error}; send it again in {error.retry_after} s"
    return MediaError(message, "busy", error.retry_after)


def _failed(error: WorkerDiedError) -> MediaError:
    logger.warning("reading an image ended its process: %s", error)
    return MediaError(f"the image can't be read: its decoder failed ({error})")
