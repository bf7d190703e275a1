"""Keeps a child process with a model running: starts it, and another when it dies or hangs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

from ..protocol.config import ConfigError
from ..protocol.errors import EngineDeadError
from ..protocol.messages import StartFailed
from .child_process import ChildProcess, Spawned
from .restart_pause import RestartPause

logger = logging.getLogger(__name__)

Ready = TypeVar("Ready")
Message = TypeVar("Message")


class Supervisor(Generic[Ready, Message]):
    """Holds the present process; use from one event loop: `launch`, `wait_until_ready`, `stop`.

    module: that the process runs; see Spawned. settings: the first message that it gets.
    ready: the message that says that the model is loaded; StartFailed comes in its stead.
    messages: what else the process sends, which `on_message` is called with.
    stall_timeout: see StallWatch; a process that hangs is killed.
    on_death: is called when a process that was to serve has ended, with what there is to tell
        whoever waits for it. Another one, which knows nothing, is started after a pause.
    """

    def __init__(
        self,
        module: str,
        settings: object,
        ready: type[Ready],
        messages: type[Message] | Any,
        stall_timeout: float,
        on_message: Callable[[Message], None],
        on_death: Callable[[EngineDeadError], None],
    ) -> None:
        self._module = module
        self._settings = settings
        self._ready_type = ready
        self._incoming = ready | StartFailed | messages
        self._stall_timeout = stall_timeout
        self._on_message = on_message
        self._on_death = on_death
        self._process: ChildProcess[Ready | StartFailed | Message] | None = None
        self._first_start: asyncio.Future[Ready] | None = None
        self._pause = RestartPause()
        self._start_error = ""
        self._alive = False
        self._stopping = False
        self._ready: Ready | None = None

    @property
    def alive(self) -> bool:
        """Whether the model is loaded and its process runs, as far as is known."""
        return self._alive

    @property
    def ready(self) -> Ready | None:
        """What the present process has loaded, or the last one had."""
        return self._ready

    @property
    def pid(self) -> int | None:
        """The process id of the present process, if there is one."""
        return self._process.pid if self._process is not None else None

    def launch(self, child: Spawned | None = None) -> None:
        """Start the process, or use one that has been spawned for it; it loads its model while
        the caller does other things."""
        self._first_start = asyncio.get_running_loop().create_future()
        self._start(child or Spawned(self._module))

    async def wait_until_ready(self) -> Ready:
        """Wait until the model is loaded. Raises ConfigError if it can't be."""
        assert self._first_start is not None
        return await self._first_start

    async def stop(self) -> None:
        """End the process and start no other."""
        self._stopping = True
        if self._process is not None:
            await asyncio.to_thread(self._process.stop)

    def send(self, message: object) -> None:
        """Hand a message to the present process; it is lost if that is dead. Raises OverflowError
        for an integer beyond 64 bits."""
        assert self._process is not None
        self._process.send(message)

    def check_alive(self) -> None:
        """Raises EngineDeadError if there is no process that could be sent anything."""
        if not self._alive:
            raise self.restarting()

    def restarting(self) -> EngineDeadError:
        """What to tell those who ask while another process starts."""
        seconds = self._pause.retry_after
        message = f"the engine is restarting; send the request again in {seconds} s"
        return EngineDeadError(message, seconds)

    def _start(self, child: Spawned) -> None:
        loop = asyncio.get_running_loop()
        self._pause.started()

        def post(callback: Callable[[], None]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(callback)

        self._process = ChildProcess(
            child,
            self._settings,
            self._incoming,
            on_message=lambda message: post(lambda: self._take(message)),
            on_exit=lambda reason: post(lambda: self._bury(reason)),
            stall_timeout=self._stall_timeout,
        )

    def _take(self, message: Ready | StartFailed | Message) -> None:
        if isinstance(message, StartFailed):
            self._start_error = message.message
        elif isinstance(message, self._ready_type):
            self._alive = True
            self._pause.loaded()
            self._ready = message
            if self._first_start is not None and not self._first_start.done():
                self._first_start.set_result(message)
        else:
            self._on_message(cast(Message, message))

    def _bury(self, reason: str) -> None:
        """The process has ended: tell who waits for it, and start another."""
        self._alive = False
        if self._stopping:
            return
        if self._ready is None:
            assert self._first_start is not None
            error = self._start_error or f"the engine died while it started: {reason}"
            self._first_start.set_exception(ConfigError(error))
            return
        logger.error("the engine's process died (%s); starting another", reason)
        pause = self._pause.after_death()
        message = f"the engine died ({reason}) and the request with it"
        self._on_death(EngineDeadError(message, self._pause.retry_after))
        asyncio.get_running_loop().call_later(pause, self._restart)

    def _restart(self) -> None:
        if not self._stopping:
            self._start(Spawned(self._module))
