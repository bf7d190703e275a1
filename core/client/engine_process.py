"""What runs in the engine's process; its parent holds a ChildEngine."""

from __future__ import annotations

import gc
import logging
import queue
import socket
import threading
from typing import Any

from ..checkpoints.find_checkpoint import find_checkpoint
from ..engine.engine_core import EngineCore
from ..process.heartbeat import Ping, Pong
from ..process.wire import Connection
from ..protocol.config import ConfigError, EngineConfig
from ..protocol.messages import (
    Abort,
    EngineRequest,
    MediaSupply,
    StartFailed,
)
from ..registry.registry import UnsupportedModelError, get_registry
from .in_process_engine import InProcessEngine

logger = logging.getLogger(__name__)

#: How often deadlines are looked at while all open requests wait for images.
_PARKED_PAUSE_S = 0.05

ToEngine = EngineRequest | MediaSupply | Abort | Ping


class EngineLoop:
    """What the child runs: takes messages, steps, reports, until its parent hangs up."""

    def __init__(self, core: EngineCore, connection: Connection[ToEngine]) -> None:
        self._core = core
        self._engine = InProcessEngine(core)
        self._engine.listen(self._send)
        self._connection = connection
        self._inbox: queue.SimpleQueue[ToEngine | None] = queue.SimpleQueue()
        # The model and its libraries stay: looking through them for garbage would hold up a step
        # now and then.
        gc.freeze()

    def run(self) -> None:
        """Return when the parent is gone."""
        threading.Thread(target=self._listen, name="octavo-inbox", daemon=True).start()
        try:
            self._send(self._engine.facts)
            self._engine.report([])
            while self.step():
                pass
        except ConnectionError:
            logger.debug("the parent is gone")
        finally:
            self._core.close()

    def step(self) -> bool:
        """Act on what has come, compute a step and report it; False if the parent is gone."""
        if not self._take_messages():
            return False
        self._engine.step()
        return True

    def _listen(self) -> None:
        try:
            while (message := self._connection.receive()) is not None:
                self._inbox.put(message)
        finally:
            # Also after an error, such as too many open files: an engine that is deaf must end.
            self._inbox.put(None)

    def _take_messages(self) -> bool:
        """Act on everything in the inbox, waiting if there is nothing to compute; returns False
        if the parent has hung up."""
        while True:
            try:
                message = self._next_message()
            except queue.Empty:
                return True
            if message is None:
                return False
            self._act(message)

    def _next_message(self) -> ToEngine | None:
        if self._engine.has_work():
            return self._inbox.get_nowait()
        # Deadlines of requests that wait for images must be watched all the same.
        return self._inbox.get(timeout=_PARKED_PAUSE_S if self._engine.has_unfinished() else None)

    def _act(self, message: ToEngine) -> None:
        if isinstance(message, EngineRequest):
            self._engine.submit(message)
        elif isinstance(message, MediaSupply):
            self._engine.supply(message.media)
        elif isinstance(message, Ping):
            self._send(Pong())
        else:
            self._engine.abort(message)

    def _send(self, message: object) -> None:
        self._connection.send(self._connection.encode(message))


def main(sock: socket.socket) -> None:
    """Entry of the child. The first message that comes is the configuration."""
    settings = Connection[dict[str, Any]](sock, dict[str, Any]).receive()
    if settings is None:
        return  # the parent is gone
    connection: Connection[ToEngine] = Connection(sock, ToEngine)
    try:
        config = EngineConfig(**settings)
        core = EngineCore(config, find_checkpoint(config.model, config.mmproj), get_registry())
    except (ConfigError, UnsupportedModelError) as error:
        connection.send(connection.encode(StartFailed(str(error))))
        return
    except Exception as error:  # libraries, plugins and compilers may raise anything
        logger.exception("the engine can't be started")
        message = f"the engine can't be started: {type(error).__name__}: {error}"
        connection.send(connection.encode(StartFailed(message)))
        return
    EngineLoop(core, connection).run()
