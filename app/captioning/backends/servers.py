"""The servers of a job: which of them are there, and which is asked next."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx

from ....core.protocol.errors import RequestError
from .chat_answers import TroubleError
from .server_models import ask_models, check_answers

logger = logging.getLogger(__name__)

#: Before something is tried again the first time, and at most.
FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
#: Seconds without any server before it is said, and between two times that it is.
_QUIET, _BETWEEN_WARNINGS = 5.0, 60.0


@dataclass(eq=False)
class Server:
    """url: that to which /chat/completions is added. owner: of the model, as the server has it.
    running: pictures that it is asked about. is_here: whether it answers. trouble: the last, if
    nothing has gone well since."""

    url: str
    owner: str = ""
    running: int = 0
    is_here: bool = False
    trouble: str | None = "not asked yet"


class Servers:
    """Used in one event loop.

    model: by the servers' name; None is their only one, which is known once they have started.
    connections: pictures that one server is asked about at once. patience: seconds that pictures
    wait while no server answers.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        urls: Sequence[str],
        model: str | None,
        connections: int,
        patience: float,
    ) -> None:
        self.model = model
        self._named_by: str | None = None
        self._client = client
        self._servers = [Server(url) for url in urls]
        self._connections = connections
        self._patience = patience
        self._num_waiting = 0
        self._is_watching = False
        self._changed = asyncio.Event()
        self._ended = asyncio.Event()
        self._lost: RequestError | None = None
        self._background: set[asyncio.Task[None]] = set()

    @property
    def num_here(self) -> int:
        """Servers that answer at present."""
        return sum(server.is_here for server in self._servers)

    @property
    def num_running(self) -> int:
        """Pictures that servers are asked about."""
        return sum(server.running for server in self._servers)

    async def start(self) -> None:
        """Wait until one is ready. Raises RequestError if none can be reached, or if one refuses
        the key, has other models than the rest, or doesn't answer questions."""
        with self.waiting():
            await self._find_first()
        assert self.model is not None
        for server in self._servers:
            if server.is_here:
                await check_answers(self._client, server.url, self.model)
            else:
                logger.warning("%s: %s; it is left out for now", server.url, server.trouble)
                self._begin(self._watch(server))

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While a picture waits for its answers; only then does patience end."""
        self._num_waiting += 1
        try:
            yield
        finally:
            self._num_waiting -= 1

    async def take(self, avoided: Set[Server]) -> Server:
        """The least busy one, to be released; one of the avoided only where there are no others.

        Raises RequestError if none has answered for too long.
        """
        while True:
            self._check()
            here = [server for server in self._servers if server.is_here]
            here = [server for server in here if server not in avoided] or here
            spare = [server for server in here if server.running < self._connections]
            if spare:
                server = min(spare, key=lambda s: (s.trouble is not None, s.running))
                server.running += 1
                return server
            await self._changed.wait()

    def release(self, server: Server) -> None:
        """After `take`."""
        server.running -= 1
        self._wake()

    def worked(self, server: Server) -> None:
        """Take note that it answered."""
        server.trouble = None

    def failed(self, server: Server, trouble: TroubleError) -> None:
        """Take note of what happened there. A server that is away is asked now and then whether it
        is back."""
        server.trouble = str(trouble)
        logger.debug("%s: %s", server.url, trouble)
        if trouble.is_away and server.is_here:
            server.is_here = False
            self._begin(self._watch(server))

    async def pause(self, attempt: int, retry_after: float | None = None) -> None:
        """Wait, the longer the more attempts there were, but as long as a server asks for, and not
        all for the same time. Raises as `take` does."""
        if retry_after is None:
            seconds = min(_LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt) * random.uniform(0.5, 1)
        else:
            seconds = max(retry_after, FIRST_PAUSE_S) * random.uniform(1, 1.1)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), seconds)
        self._check()

    def drain(self) -> None:
        """Cancel whatever waits, or comes to wait."""
        self._ended.set()
        self._wake()

    def _check(self) -> None:
        if self._lost is not None:
            raise self._lost
        if self._ended.is_set():
            raise asyncio.CancelledError

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _find_first(self) -> None:
        if not self._is_watching:
            self._begin(self._watch_all())
            self._is_watching = True
        attempt = 0
        while True:
            troubles = await self._look(self._servers)
            if len(troubles) < len(self._servers):
                return
            if all(trouble.is_away for trouble in troubles):
                raise RequestError(f"--workers: {self._tell()}; start a server there")
            await self.pause(attempt)
            attempt += 1

    async def _watch(self, server: Server) -> None:
        attempt = 0
        while not server.is_here:
            await self.pause(attempt)
            attempt += 1
            try:
                await self._look([server])
            except RequestError as error:
                server.trouble = str(error)
        logger.info("%s is back", server.url)
        self._wake()

    async def _look(self, servers: Sequence[Server]) -> list[TroubleError]:
        """Whether they have the model of the job; what keeps some from telling. Raises
        RequestError."""
        asking = [ask_models(self._client, server.url) for server in servers]
        troubles = []
        for server, said in zip(
            servers, await asyncio.gather(*asking, return_exceptions=True), strict=True
        ):
            if isinstance(said, TroubleError):
                server.trouble = str(said)
                troubles.append(said)
                continue
            if isinstance(said, BaseException):
                raise said
            server.owner = self._check_models(server, said)
            server.trouble = None
            server.is_here = True
        return troubles

    def _check_models(self, server: Server, models: Mapping[str, str] | None) -> str:
        """Returns the owner of the job's model."""
        if models is None:
            if self.model is None:
                raise RequestError(f"{server.url} gives no list of models; name one by --model")
            return ""
        if self.model is None:
            if len(models) != 1:
                listed = ", ".join(models) or "none"
                raise RequestError(f"{server.url} has {listed}; name one model by --model")
            (self.model,) = models
            self._named_by = server.url
        if self.model not in models:
            listed = ", ".join(models) or "no model"
            as_who = f", which {self._named_by} has" if self._named_by else ""
            raise RequestError(
                f"{server.url} has {listed}, and not {self.model}{as_who}; all servers of a job "
                "must have the same model"
            )
        return models[self.model]

    async def _watch_all(self) -> None:
        """Say that no server answers, and end the job after a while."""
        since = warned = None
        while True:
            await asyncio.sleep(min(1.0, self._patience / 10))
            now = time.monotonic()
            if not self._num_waiting or any(server.trouble is None for server in self._servers):
                since = warned = None
                continue
            since = now if since is None else since
            if now - since >= self._patience:
                self._lost = RequestError(
                    f"no server has answered for {now - since:.0f} s: {self._tell()}; the same "
                    "command goes on from here"
                )
                return self.drain()
            if now - since >= _QUIET and (warned is None or now - warned >= _BETWEEN_WARNINGS):
                warned = now
                logger.warning("waiting for a server: %s", self._tell())

    def _tell(self) -> str:
        return "; ".join(f"{server.url}: {server.trouble}" for server in self._servers)
