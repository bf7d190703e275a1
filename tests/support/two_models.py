"""A chat server of two models, which say their names, and go on if they are asked to."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import anyio
import uvicorn
from serving import wait_until
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

MODELS = ("first", "second")
#: A prompt whose answer has no end.
ENDLESS = "go on"


class TwoModels:
    """num_open: answers that are being written."""

    def __init__(self) -> None:
        self.num_open = 0
        self.base_url = ""

    async def models(self, request: Request) -> JSONResponse:
        return JSONResponse({"data": [{"id": name} for name in MODELS]})

    async def chat(self, request: Request) -> StreamingResponse:
        body = await request.json()
        endless = ENDLESS in json.dumps(body["messages"])
        return StreamingResponse(self._answer(body["model"], endless))

    async def _answer(self, model: str, endless: bool) -> AsyncIterator[str]:
        self.num_open += 1
        try:
            yield _chunk(f"I am {model}", None)
            if endless:
                await anyio.sleep_forever()
            yield _chunk(".", "stop")
        finally:
            self.num_open -= 1


def _chunk(text: str, reason: str | None) -> str:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    return f"data: {json.dumps({'choices': [choice]})}\n\n"


@contextmanager
def two_models() -> Iterator[TwoModels]:
    """In a thread."""
    made = TwoModels()
    routes = [
        Route("/v1/models", made.models),
        Route("/v1/chat/completions", made.chat, methods=["POST"]),
    ]
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        made.base_url = f"http://127.0.0.1:{port}"
        yield made
    finally:
        server.should_exit = True
        thread.join()
