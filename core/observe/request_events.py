"""Tells plugins of requests that come and go."""

from __future__ import annotations

import logging
from typing import Any

from ..protocol.messages import EngineRequest
from ..protocol.outputs import RequestOutput
from ..registry.registry import Registry

logger = logging.getLogger(__name__)


class RequestEvents:
    """Calls the request hooks. A plugin that fails is told of in the log once, and not called
    for that event again; the request goes on."""

    def __init__(self, registry: Registry) -> None:
        hooks = registry.hooks.hook
        self._received = list(hooks.octavo_request_received.get_hookimpls())
        self._finished = list(hooks.octavo_request_finished.get_hookimpls())

    def received(self, request: EngineRequest) -> None:
        """A request is about to be handed to the engine."""
        self._call(self._received, {"request": request})

    def finished(self, request: EngineRequest, output: RequestOutput) -> None:
        """A request has ended, for whatever reason."""
        self._call(self._finished, {"request": request, "output": output})

    def _call(self, implementations: list[Any], arguments: dict[str, Any]) -> None:
        for implementation in list(implementations):
            try:
                implementation.function(*(arguments[name] for name in implementation.argnames))
            except Exception:
                logger.exception(
                    "plugin %s failed in a request hook; the hook is off from now on",
                    implementation.plugin_name,
                )
                implementations.remove(implementation)
