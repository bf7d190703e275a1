"""A server without a model, run by what runs all servers. Its arguments: a port, and settings in
JSON; it prints what becomes of it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from octavo.app.http import open_requests, patient_protocol
from octavo.app.http.bound_sockets import bind_sockets
from octavo.app.http.errors import EXCEPTION_HANDLERS
from octavo.app.http.listen import ListenConfig, run_app, run_until_stopped
from octavo.app.http.loading import LoadedApp, LoadingApp
from octavo.app.http.stop_signals import StopSignals, end_silently
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route


class Toy:
    def __init__(self) -> None:
        self.cut = asyncio.Event()
        self.open = self.most_open = 0

    async def count(self, request: Request) -> Response:
        """How many were open at once, so far."""
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        await asyncio.sleep(0.01)
        self.open -= 1
        return PlainTextResponse(str(self.most_open), headers={"Connection": "close"})

    async def read(self, request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    async def wait(self, request: Request) -> Response:
        """For the seconds that are named."""
        print("waiting", flush=True)
        await asyncio.sleep(float(request.query_params["seconds"]))
        return PlainTextResponse("whole")

    async def stream(self, request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"first "
            print("waiting", flush=True)
            await self.cut.wait()
            yield b"cut"

        return StreamingResponse(pieces())


async def serve(signals: StopSignals) -> bool:
    settings = json.loads(sys.argv[2])
    open_requests.BODY_TIMEOUT_S = settings.get("body", 30.0)
    patient_protocol.HEADERS_TIMEOUT_S = settings.get("headers", 20.0)
    toy = Toy()
    routes = [Route(f"/{name}", getattr(toy, name)) for name in ("count", "wait", "stream")]
    routes.append(Route("/read", toy.read, methods=["POST"]))
    app = Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS)
    listen = ListenConfig(
        bind_sockets("127.0.0.1", int(sys.argv[1])),
        2**20,
        settings.get("drain", 600.0),
        settings.get("connections"),
    )

    @asynccontextmanager
    async def load() -> AsyncIterator[LoadedApp]:
        try:
            if "load" in settings:
                print("loading", flush=True)
                await asyncio.sleep(settings["load"])
            print("serving", flush=True)
            yield LoadedApp(app, toy.cut.set)
        finally:
            # As a writer does that has to be flushed.
            await asyncio.to_thread(print, "put away", flush=True)
            await asyncio.sleep(settings.get("end", 0.0))

    return await run_app(LoadingApp("toy"), load, listen, signals)


if __name__ == "__main__":
    end_silently()
    sys.exit(run_until_stopped(serve))
