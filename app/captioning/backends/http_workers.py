"""Servers of the API of chat completions answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any

import httpx

from ....core.protocol.media_error import MediaError
from ..picture import Picture
from ..task import Answer, Captioned, Failed, Outcome, Question, Task
from .backend import Read
from .chat_answers import RefusalError, TroubleError, read_answer, trouble_of
from .chat_requests import request_body
from .server_addresses import base_urls, key_headers
from .servers import Server, Servers
from .shown_pictures import picture_part, with_pictures
from .task_flow import TaskFlow

#: Times that a picture is asked about where it may be what breaks the servers.
MAX_TRIES = 5
#: Times after which it is asked about without others that are suspected, too, so that one that
#: breaks servers isn't the end of those which were there when it did.
_SUSPECT_AFTER = 2
#: Pictures that are read ahead of those that servers are asked about.
_MAX_AHEAD = 64
_OCTAVO = "octavo"


class HttpWorkers:
    """See Backend. One server is asked about all of a picture, a question after another, so that
    its caches serve the later ones.

    addresses: such as "http://host:8000"; one with a path, such as "https://host/openai/v1", is
    taken as it is. model: by the servers' name; None is their only one. connections: pictures that
    one server is asked about at once. patience: seconds that the job waits while no server
    answers. timeout: seconds that an answer may take.

    The environment's OCTAVO_WORKERS_API_KEY, or else OPENAI_API_KEY, is sent as the key.
    Raises RequestError for what is no address.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        model: str | None = None,
        *,
        connections: int = 32,
        patience: float = 600.0,
        timeout: float = 900.0,
    ) -> None:
        urls = base_urls(addresses)
        self._client = httpx.AsyncClient(
            headers=key_headers(),
            timeout=httpx.Timeout(timeout, connect=10.0, pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        )
        self._servers = Servers(self._client, urls, model, connections, patience)
        in_flight = connections * len(urls)
        self._window = in_flight + min(in_flight, _MAX_AHEAD)
        self._suspects = asyncio.Lock()
        self._retries = 0
        self._is_started = False
        self._flow = TaskFlow("octavo-workers")

    @property
    def facts(self) -> dict[str, Any]:
        """The model's name; which servers answer, and how many, changes no caption."""
        self.start()
        return {"model": self._servers.model}

    def start(self) -> None:
        """Find out what the servers have. Raises RequestError if none can be reached, one refuses
        the key, or they have different models; waits for those that load theirs."""
        if not self._is_started:
            with suppress(CancelledError):  # drained, while servers load
                self._flow.loop.run(self._servers.start())
                self._is_started = True

    def run(self, pictures: Iterable[Picture | None], read: Read) -> Iterator[Outcome]:
        """See Backend. Raises RequestError, too, if no server has answered for too long, or if one
        can't honour what is asked."""
        self.start()
        return self._flow.run(pictures, read, self._answer, self._window)

    def drain(self) -> None:
        """See Backend. What has not been sent, or would have to be sent again, is given up."""
        self._flow.drain()
        self._flow.loop.call(self._servers.drain)

    def progress(self) -> dict[str, float]:
        """Pictures that servers are asked about, servers that answer, and requests that had to be
        sent again."""
        return {
            "running": self._servers.num_running,
            "servers": self._servers.num_here,
            "retries": self._retries,
        }

    def close(self) -> None:
        """See Backend."""
        self._flow.loop.run(self._client.aclose())
        self._flow.close()

    async def _answer(self, task: Task) -> Outcome:
        with self._servers.waiting():
            return await self._ask_until_answered(task)

    async def _ask_until_answered(self, task: Task) -> Outcome:
        answers: dict[str, Answer] = {}
        avoided: set[Server] = set()
        attempt = tries = 0
        while True:
            try:
                if tries < _SUSPECT_AFTER:
                    await self._try(task, answers, avoided, attempt)
                else:
                    async with self._suspects:
                        await self._try(task, answers, avoided, attempt)
                return Captioned(task, answers)
            except RefusalError as refusal:
                return Failed(task.picture, str(refusal), task)
            except _TriedError as tried:
                self._retries += 1
                attempt += 1
                tries += tried.trouble.is_suspect
                avoided.add(tried.server)
                if tries == MAX_TRIES:
                    reason = f"{tried.server.url}: {tried.trouble}"
                    error = f"given up after it failed {tries} times, the last time at {reason}"
                    return Failed(task.picture, error, task)

    async def _try(
        self, task: Task, answers: dict[str, Answer], avoided: Set[Server], attempt: int
    ) -> None:
        """Ask what has no answer yet. Raises _TriedError, RefusalError or RequestError."""
        server = await self._servers.take(avoided)
        try:
            shown = await asyncio.to_thread(_shown, server, task)
            for question in task.questions:
                if question.name not in answers:
                    answers[question.name] = await self._ask(server, task, question, shown)
                    self._servers.worked(server)
        except RefusalError:
            self._servers.worked(server)
            raise
        except TroubleError as trouble:
            self._servers.failed(server, trouble)
            if not trouble.is_away:
                # Its connection is kept for the time: others would meet the same.
                await self._servers.pause(attempt, trouble.retry_after)
            raise _TriedError(server, trouble) from trouble
        finally:
            self._servers.release(server)

    async def _ask(
        self, server: Server, task: Task, question: Question, shown: Mapping[str, Any]
    ) -> Answer:
        try:
            assert self._servers.model is not None
            body = await asyncio.to_thread(_body, server, question, shown, self._servers.model)
            response = await self._client.post(
                f"{server.url}/chat/completions",
                content=body,
                headers={"Content-Type": "application/json"},
            )
            answer = read_answer(server.url, response)
            if (fault := question.fault_of(answer)) is not None:
                raise RefusalError(fault)
            return answer
        except httpx.HTTPError as error:
            raise trouble_of(error) from error
        except RefusalError as refusal:
            if len(task.questions) == 1:
                raise
            raise RefusalError(f"prompt {question.name}: {refusal}") from refusal


class _TriedError(Exception):
    def __init__(self, server: Server, trouble: TroubleError) -> None:
        super().__init__(str(trouble))
        self.server = server
        self.trouble = trouble


def _shown(server: Server, task: Task) -> dict[str, Any]:
    try:
        return picture_part(task.content, any_file=server.owner == _OCTAVO)
    except MediaError as error:
        raise RefusalError(str(error)) from error


def _body(server: Server, question: Question, shown: Mapping[str, Any], model: str) -> bytes:
    """Raises RefusalError, or RequestError for what the server doesn't honour."""
    messages = with_pictures(question.messages, shown, any_file=server.owner == _OCTAVO)
    try:
        return request_body(question, messages, model, server.url, server.owner)
    except UnicodeEncodeError as error:
        raise RefusalError(f"what is asked is no text: {error.reason}") from error
