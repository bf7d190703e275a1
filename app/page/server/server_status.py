"""How a server is."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from enum import StrEnum

from .server_api import ServerApi, ServerError

#: Seconds.
_PATIENCE = 10
_FRESH_FOR = 1.0


class Condition(StrEnum):
    """Of a server; REFUSING: it answers, but not us (a wrong key, for example)."""

    READY = "ready"
    LOADING = "loading"
    UNREACHABLE = "unreachable"
    REFUSING = "refusing"


@dataclass(frozen=True)
class ServerStatus:
    """model: its name, "" if not known. says: why the server isn't ready."""

    condition: Condition
    model: str = ""
    says: str = ""


class StatusWatch:
    """Of one server, for all visitors: those who look at the same time ask it once."""

    def __init__(self, server: ServerApi) -> None:
        self._server = server
        self._lock = asyncio.Lock()
        self._seen: ServerStatus | None = None
        self._seen_at = 0.0

    async def look(self) -> ServerStatus:
        """The status, at most a second old."""
        async with self._lock:
            if self._seen is None or time.monotonic() - self._seen_at > _FRESH_FOR:
                self._seen = await self._ask()
                self._seen_at = time.monotonic()
            return self._seen

    async def _ask(self) -> ServerStatus:
        try:
            async with asyncio.timeout(_PATIENCE):
                model = (await self._server.models())[0]
                if model.get("owned_by") == "octavo":
                    await self._server.get("/health")
        except TimeoutError:
            return ServerStatus(Condition.UNREACHABLE, says="the server does not answer")
        except ServerError as error:
            return ServerStatus(_condition_of(error), says=str(error))
        except (LookupError, TypeError, AttributeError):
            return ServerStatus(Condition.REFUSING, says="the server tells of no model")
        return ServerStatus(Condition.READY, str(model["id"]))


def _condition_of(error: ServerError) -> Condition:
    if error.status is None:
        return Condition.UNREACHABLE
    return Condition.LOADING if error.status == 503 else Condition.REFUSING
