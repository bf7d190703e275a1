"""Pictures are read in threads, their tasks answered in an event loop, and their outcomes given in
order."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

from ..picture import Picture
from ..task import Outcome, Task
from .backend import Read
from .loop_thread import LoopThread

#: Between two looks at a source that has nothing yet.
_NOT_YET_S = 0.05
#: More than processors, as files may be far away.
_NUM_READERS = 16
#: What comes of a task. Cancelled if it is given up, as the flow is drained.
Answering = Callable[[Task], Awaitable[Outcome]]


class TaskFlow:
    """From its making to `close`. loop: in which tasks are answered."""

    def __init__(self, name: str) -> None:
        self.loop = LoopThread(name)
        self._readers = ThreadPoolExecutor(_NUM_READERS, thread_name_prefix=f"{name}-read")
        self.is_draining = False

    def run(
        self, pictures: Iterable[Picture | None], read: Read, answer: Answering, window: int
    ) -> Iterator[Outcome]:
        """An outcome for each picture, as Backend.run has it. window: at most so many pictures are
        begun, and have not been given yet.

        Raises what `answer` does, once all outcomes before it have been given.
        """
        source = iter(pictures)
        has_ended = False
        begun: deque[Future[Outcome]] = deque()
        try:
            while True:
                while len(begun) < window and not (has_ended or self.is_draining):
                    try:
                        picture = next(source)
                    except StopIteration:
                        has_ended = True
                        break
                    if picture is None:
                        break
                    begun.append(self.loop.begin(self._outcome(picture, read, answer)))
                    if begun[0].done():  # it doesn't wait for a source that is slow
                        break
                if not begun:
                    if has_ended or self.is_draining:
                        return
                    time.sleep(_NOT_YET_S)
                    continue
                try:
                    outcome = begun[0].result(None if has_ended else _NOT_YET_S)
                except TimeoutError:  # there may be another picture by now
                    continue
                except CancelledError:
                    begun.popleft()
                    continue
                begun.popleft()
                yield outcome
        finally:
            for future in begun:
                future.cancel()

    def drain(self) -> None:
        """Begin no further pictures. Those that are begun are still answered, unless `answer`
        gives them up. From any thread, or a signal handler."""
        self.is_draining = True

    def close(self) -> None:
        """Give up what runs."""
        self.is_draining = True
        self._readers.shutdown(wait=False, cancel_futures=True)
        self.loop.close()

    async def _outcome(self, picture: Picture, read: Read, answer: Answering) -> Outcome:
        loop = asyncio.get_running_loop()
        task = await loop.run_in_executor(self._readers, self._read, picture, read)
        if task is None:
            raise asyncio.CancelledError
        return await answer(task) if isinstance(task, Task) else task

    def _read(self, picture: Picture, read: Read) -> Task | Outcome | None:
        return None if self.is_draining else read(picture)
