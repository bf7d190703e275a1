"""Chat servers over real sockets that misbehave as they are told."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """status, headers, body: of a response. cut: send half of the body only. reset: the
    connection, instead of any response."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    reset: bool = False


#: From the text of a question, and how many times it was asked before here, to what to do; None
#: is to answer with the text itself.
Behaviour = Callable[[str, int], Reply | None]


class OddServer(ThreadingHTTPServer):
    """models: what the list of models says. asked: the texts of the questions, in order. bodies:
    the same as a whole. most_open: questions that were open at once."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, behaviour: Behaviour, models: Reply, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.behaviour = behaviour
        self.models = models
        self.asked: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.open = self.most_open = 0
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections break here by design."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OddServer

    def do_GET(self) -> None:
        self.server.keys.add(self.headers.get("Authorization"))
        self._reply(self.server.models if self.path == "/v1/models" else Reply(404))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not body["messages"]:
            self._reply(Reply(400))
            return
        text = body["messages"][-1]["content"][-1]["text"]
        with self.server.lock:
            before = self.server.asked.count(text)
            self.server.asked.append(text)
            self.server.bodies.append(body)
            self.server.open += 1
            self.server.most_open = max(self.server.most_open, self.server.open)
        try:
            self._reply(self.server.behaviour(text, before) or Reply(body=_completion(text)))
        finally:
            with self.server.lock:
                self.server.open -= 1

    def _reply(self, reply: Reply) -> None:
        if reply.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            for file in (self.rfile, self.wfile, self.connection):  # all of them hold it open
                file.close()
            self.close_connection = True
            return
        data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in {**reply.headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if reply.cut else data)
        self.close_connection = reply.cut

    def log_message(self, format: str, *args: Any) -> None:
        """Nowhere."""


@contextmanager
def odd_server(
    behaviour: Behaviour = lambda text, before: None,
    *models: str,
    owner: str = "vllm",
    listing: Reply | None = None,
    port: int = 0,
) -> Iterator[OddServer]:
    """models: by name, "odd" if none are given. listing: instead of their list."""
    names = models or ("odd",)
    listed = {"data": [{"id": name, "owned_by": owner} for name in names]}
    with OddServer(behaviour, listing or Reply(body=listed), port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _completion(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
