"""A server's batches as its handlers find them: in their folder, which is made when it is first
needed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request

from ....core.protocol.config import ConfigError
from ...batches.answers import Ask
from ...batches.batches import MAX_REQUESTS, Batches
from ...batches.file_store import FileLimits
from ...batches.input_file import LineRules
from ...batches.storage import Storage, default_folder, exists
from ..background import BackgroundRequests
from ..errors import HttpError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchConfig:
    """folder: None is one of the model's own, under the user's data. limits: of files. max_lines:
    requests of batches that run at once."""

    folder: Path | None
    limits: FileLimits
    max_lines: int


class BatchService:
    """endpoints: that a batch may be of. model_name, max_body_bytes, alive: of the server. ask:
    sends a line."""

    def __init__(
        self,
        config: BatchConfig,
        endpoints: Sequence[str],
        model_name: str,
        max_body_bytes: int,
        ask: Ask,
        alive: Callable[[], bool],
    ) -> None:
        self.endpoints = tuple(endpoints)
        self._config = config
        self._folder = config.folder or default_folder(model_name)
        self._rules = LineRules(self.endpoints, model_name, max_body_bytes, MAX_REQUESTS)
        self._ask = ask
        self._alive = alive
        self._batches: Batches | None = None
        self._opening = asyncio.Lock()
        self._is_stopped = False

    async def resume(self) -> None:
        """Go on with what an earlier server left. Raises ConfigError if the folder that the
        operator named can't be used; without the default one, clients are told why."""
        if self._config.folder is None and not exists(self._folder):
            return
        try:
            await self._open()
        except ConfigError as error:
            if self._config.folder is not None:
                raise
            logger.warning("no batches: %s", error)

    async def open(self) -> Batches:
        """The batches. Raises HttpError if there can't be any."""
        try:
            return await self._open()
        except ConfigError as error:
            message = f"batches can't be kept now: {error}"
            raise HttpError(503, message, None, "no_storage") from error

    def stop(self) -> None:
        """End at once what runs, and begin nothing."""
        self._is_stopped = True
        if self._batches is not None:
            self._batches.stop()

    async def close(self) -> None:
        """Let the folder go."""
        self.stop()
        if self._batches is not None:
            await self._batches.close()

    async def _open(self) -> Batches:
        async with self._opening:
            if self._is_stopped:
                raise ConfigError("the server is shutting down")
            if self._batches is None:
                storage = await asyncio.to_thread(Storage.open, self._folder, self._config.limits)
                batches = Batches(
                    storage, self._ask, self._alive, self._rules, self._config.max_lines
                )
                await batches.resume()
                self._batches = batches
        return self._batches


def service_of(http: Request) -> BatchService:
    """That of the server that was asked. Raises HttpError if it has none."""
    service: BatchService | None = http.app.state.batches
    if service is None:
        raise HttpError(404, "this server keeps no files and batches: see --batch-dir")
    return service


async def batches_of(http: Request) -> Batches:
    """The batches of the server that was asked. Raises HttpError if there can't be any."""
    return await service_of(http).open()


@asynccontextmanager
async def running_batches(
    app: Starlette,
    config: BatchConfig | None,
    endpoints: Sequence[str],
    model_name: str,
    max_body_bytes: int,
    alive: Callable[[], bool],
) -> AsyncIterator[Callable[[], None]]:
    """Have an application keep batches, whose lines it answers itself; gives what stops them.
    config: None for none. Raises ConfigError if the folder can't be used."""
    if config is None:
        app.state.batches = None
        yield lambda: None
        return
    ask = BackgroundRequests(app)
    service = BatchService(config, endpoints, model_name, max_body_bytes, ask, alive)
    app.state.batches = service
    try:
        await service.resume()
        yield service.stop
    finally:
        await service.close()
