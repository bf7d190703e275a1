"""Actors of Ray answer, each with the model on a node of a cluster."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ....core.protocol.config import ConfigError, EngineConfig
from ....core.protocol.errors import RequestError
from ..picture import Picture
from ..task import Captioned, Failed, Outcome, Task
from .backend import Read
from .ray_cluster import RayCluster, Seat, result_of
from .sent_task import Answered, SentTask, to_send
from .task_flow import TaskFlow

logger = logging.getLogger(__name__)

#: Batches that an actor has at once, so that its model is never without work.
_BATCHES_AT_ONCE = 2
#: Deaths of actors that had a picture alone, after which none is asked about it any more.
MAX_DEATHS = 3


@dataclass(eq=False)
class _Open:
    """A task on its way. is_sent: an actor has it. is_suspect: an actor died that had it. deaths:
    of actors that had it alone."""

    task: Task
    sent: SentTask
    outcome: asyncio.Future[Outcome]
    is_sent: bool = False
    is_suspect: bool = False
    deaths: int = 0


@dataclass(order=True)
class _Waiting:
    """Suspects come first: they hold up whoever waits for them."""

    place: int
    number: int
    open: _Open = field(compare=False)


class RayActors:
    """See Backend. config, facts: of the model, which each actor loads.

    address: of a cluster, such as "auto" or "head:6379"; "local" starts Ray on this machine. If
    the process is connected to Ray already, that is used, and left running.
    actors_per_node: share a node's processors. batch_size: pictures sent to an actor at once.

    An actor that dies is replaced, and its pictures are sent again; those go alone, so that one
    that kills actors is found: it fails after `MAX_DEATHS`.
    Raises ConfigError if Ray isn't installed.
    """

    def __init__(
        self,
        config: EngineConfig,
        facts: dict[str, Any],
        *,
        address: str = "local",
        actors_per_node: int = 1,
        batch_size: int = 16,
    ) -> None:
        self.facts = facts
        self._settings = _settings(config)
        self._actors_per_node = actors_per_node
        self._batch_size = batch_size
        self._cluster = RayCluster(address)
        self._seats: list[Seat] = []
        self._is_started = False
        self._num_lost = 0
        self._running = 0
        self._open: set[_Open] = set()
        self._ended: Exception | None = None
        self._numbers = itertools.count()
        self._flow = TaskFlow("octavo-ray")
        self._waiting: asyncio.PriorityQueue[_Waiting] = asyncio.PriorityQueue()
        self._feeders: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Connect to Ray, and have each actor load the model. Raises ConfigError if it can't."""
        if self._is_started:
            return
        self._cluster.connect()
        self._seats = self._cluster.seats(self._actors_per_node, _BATCHES_AT_ONCE)
        self._flow.loop.run(self._start())
        self._is_started = True

    def run(self, pictures: Iterable[Picture | None], read: Read) -> Iterator[Outcome]:
        """See Backend. Raises RequestError, too, if no node is left."""
        self.start()
        window = len(self._seats) * self._batch_size * (_BATCHES_AT_ONCE + 1)
        return self._flow.run(pictures, read, self._answer, window)

    def drain(self) -> None:
        """See Backend. What no actor has got yet is given up."""
        self._flow.drain()
        self._flow.loop.call(self._give_up_waiting)

    def progress(self) -> dict[str, float]:
        """Pictures that actors have, actors, and those that died."""
        num_actors = sum(seat.actor is not None for seat in self._seats)
        return {"running": self._running, "actors": num_actors, "actors_lost": self._num_lost}

    def close(self) -> None:
        """See Backend."""
        self._flow.close()
        for seat in self._seats:
            self._cluster.dismiss(seat)
        self._cluster.close()

    async def _start(self) -> None:
        await asyncio.gather(*(self._cluster.hire(seat, self._settings) for seat in self._seats))
        for seat in self._seats:
            feeder = asyncio.get_running_loop().create_task(self._feed(seat))
            self._feeders.add(feeder)
            feeder.add_done_callback(self._see_end)

    async def _feed(self, seat: Seat) -> None:
        """Until the node is lost."""
        sending: set[asyncio.Task[None]] = set()
        while True:
            if seat.actor is None and not await self._replace(seat):
                return
            batch = await self._next_batch()
            is_alone = batch[0].is_suspect
            if sending and (is_alone or seat.actor is None):
                await asyncio.wait(sending)
            if seat.actor is None:  # others may answer them before there is one
                for open_ in batch:
                    self._put(open_)
                continue
            job = asyncio.get_running_loop().create_task(self._send(seat, batch))
            sending.add(job)
            job.add_done_callback(sending.discard)
            if is_alone or len(sending) == _BATCHES_AT_ONCE:
                await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED)

    async def _replace(self, seat: Seat) -> bool:
        """Whether there is an actor again."""
        try:
            await self._cluster.hire(seat, self._settings)
        except ConfigError as error:
            logger.warning("a node is left out from now on: %s", error)
            return False
        return True

    async def _send(self, seat: Seat, batch: Sequence[_Open]) -> None:
        actor = seat.actor
        sent = [open_.sent for open_ in batch]
        for open_ in batch:
            open_.is_sent = True
        self._running += len(batch)
        try:
            reference = await asyncio.to_thread(actor.answer.remote, sent)
            answered = await result_of(reference)
        except self._cluster.errors.RayTaskError as error:
            self._fail(error.cause or error)
        except self._cluster.errors.RayError as error:
            if seat.actor is actor:
                self._num_lost += 1
                logger.warning("the actor on %s died; its pictures are sent again", seat.name)
                self._cluster.dismiss(seat)  # it may be out of reach only
            for open_ in batch:
                self._put_again(open_, str(error))
        else:
            for open_, said in zip(batch, answered, strict=True):
                if not open_.outcome.done():
                    open_.outcome.set_result(_outcome(open_.task, said))
        finally:
            self._running -= len(batch)

    async def _answer(self, task: Task) -> Outcome:
        sent = await asyncio.to_thread(to_send, task)
        open_ = _Open(task, sent, asyncio.get_running_loop().create_future())
        self._open.add(open_)
        self._put(open_)
        try:
            return await open_.outcome
        finally:
            self._open.discard(open_)

    def _put(self, open_: _Open) -> None:
        """Have it wait for an actor, unless there is nothing to wait for."""
        open_.is_sent = False
        if open_.outcome.done():
            return
        if self._ended is not None:
            open_.outcome.set_exception(self._ended)
        elif self._flow.is_draining:
            open_.outcome.cancel()
        else:
            place = 0 if open_.is_suspect else 1
            self._waiting.put_nowait(_Waiting(place, next(self._numbers), open_))

    def _put_again(self, open_: _Open, error: str) -> None:
        """After the death of an actor that had it."""
        open_.deaths += open_.is_suspect
        open_.is_suspect = True
        if open_.deaths == MAX_DEATHS and not open_.outcome.done():
            reason = f"given up: {open_.deaths} actors died that had it alone: {error}"
            open_.outcome.set_result(Failed(open_.task.picture, reason, open_.task))
        self._put(open_)

    async def _next_batch(self) -> list[_Open]:
        """Pictures that wait, at least one; a suspect is alone."""
        batch: list[_Open] = []
        while len(batch) < self._batch_size:
            if batch and self._waiting.empty():
                break
            waiting = await self._waiting.get()
            if waiting.open.outcome.done():  # it was given up
                continue
            if batch and waiting.open.is_suspect:
                self._waiting.put_nowait(waiting)
                break
            batch.append(waiting.open)
            if waiting.open.is_suspect:
                break
        return batch

    def _give_up_waiting(self) -> None:
        for open_ in self._open:
            if not open_.is_sent:
                open_.outcome.cancel()

    def _see_end(self, feeder: asyncio.Task[None]) -> None:
        self._feeders.discard(feeder)
        if feeder.cancelled():
            return
        error = feeder.exception()
        if isinstance(error, Exception):
            self._fail(error)
        elif not self._feeders:
            self._fail(RequestError("no node of Ray's cluster is left; the same command goes on"))

    def _fail(self, error: Exception) -> None:
        """End the job."""
        self._ended = error
        for open_ in self._open:
            if not open_.outcome.done():
                open_.outcome.set_exception(error)


def _settings(config: EngineConfig) -> dict[str, Any]:
    """As an actor takes them, whose working directory may be another."""
    settings = dataclasses.asdict(config)
    if os.path.exists(config.model):
        settings["model"] = os.path.abspath(config.model)
    return settings


def _outcome(task: Task, answered: Answered) -> Outcome:
    if isinstance(answered, str):
        return Failed(task.picture, answered, task)
    return Captioned(task, answered)
