"""The engine in a child process, which is watched and restarted."""

from __future__ import annotations

from dataclasses import asdict

from ..process.child_process import Spawned
from ..process.supervisor import Supervisor
from ..protocol.config import EngineConfig
from ..protocol.errors import EngineDeadError
from ..protocol.messages import (
    Abort,
    EngineFacts,
    EngineRequest,
    EngineStats,
    MediaInput,
    MediaSupply,
    RequestsStarted,
    StepReport,
)
from .engine_client import EngineDied, EngineEvent, EngineListener

#: What runs in the child; see Spawned.
ENGINE_MODULE = "octavo.core.client.engine_process"


class ChildEngine:
    """An EngineClient; use from one event loop: `launch`, `wait_until_ready`, at last `stop`."""

    def __init__(self, config: EngineConfig) -> None:
        self._child: Supervisor[EngineFacts, StepReport | RequestsStarted] = Supervisor(
            ENGINE_MODULE,
            asdict(config),
            EngineFacts,
            StepReport | RequestsStarted,
            config.engine_stall_timeout,
            on_message=self._take,
            on_death=self._mourn,
        )
        self._listener: EngineListener = lambda event: None
        self._stats = EngineStats()

    @property
    def alive(self) -> bool:
        """See EngineClient."""
        return self._child.alive

    @property
    def pid(self) -> int | None:
        """See EngineClient."""
        return self._child.pid

    @property
    def facts(self) -> EngineFacts | None:
        """See EngineClient."""
        return self._child.ready

    @property
    def stats(self) -> EngineStats:
        """See EngineClient."""
        return self._stats

    def launch(self, child: Spawned | None = None) -> None:
        """Start the engine's process, or use one that has been spawned with ENGINE_MODULE; it
        loads its model while the caller does other things."""
        self._child.launch(child)

    async def wait_until_ready(self) -> EngineFacts:
        """Wait until the model is loaded. Raises ConfigError if it can't be."""
        return await self._child.wait_until_ready()

    async def stop(self) -> None:
        """End the engine's process; of requests that are open nothing more is told."""
        await self._child.stop()

    def listen(self, listener: EngineListener) -> None:
        """See EngineClient."""
        self._listener = listener

    def check_alive(self) -> None:
        """See EngineClient."""
        self._child.check_alive()

    def submit(self, request: EngineRequest) -> None:
        """See EngineClient. Keys of images that were made for other weights would mean other
        features here."""
        self.check_alive()
        if self.facts is None or request.encoder_digest != self.facts.encoder_digest:
            raise self._child.restarting()
        self._child.send(request)

    def abort(self, abort: Abort) -> None:
        """See EngineClient."""
        self._child.send(abort)

    def supply(self, media: MediaInput) -> None:
        """See EngineClient."""
        self._child.send(MediaSupply(media))

    def _take(self, event: EngineEvent) -> None:
        if isinstance(event, StepReport):
            self._stats = event.stats
        self._listener(event)

    def _mourn(self, error: EngineDeadError) -> None:
        self._stats = EngineStats()
        self._listener(EngineDied(error))
