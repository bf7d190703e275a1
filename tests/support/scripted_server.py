"""A server of OpenAI's API that says what a test tells it to: what no real model says on demand, as
HTML, or half an answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Script:
    """What it answers. pieces: of the text; before the last it waits for `go_on`. An answer that
    breaks off has no end. left: set when a client is gone before the end."""

    models: list[dict[str, Any]] = field(
        default_factory=lambda: [{"id": "scripted", "owned_by": "octavo", "max_model_len": 9}]
    )
    loading: bool = False
    knows_timings: bool = True
    pieces: list[str] = field(default_factory=lambda: ["Yes."])
    breaks_off: bool = False
    timings: dict[str, Any] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)
    address: str = ""


@contextmanager
def scripted_server() -> Iterator[Script]:
    """Its script, to be changed while it runs."""
    script = Script()
    script.go_on.set()

    class Handler(_Handler):
        told = script

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        script.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield script
        finally:
            script.go_on.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    told: Script

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        """Of models, and health."""
        if self.told.loading:
            self._say(503, {"error": {"message": "scripted is loading", "code": "loading"}})
        elif self.path == "/v1/models":
            self._say(200, {"object": "list", "data": self.told.models})
        else:
            self._say(200, {"status": "ok"})

    def do_POST(self) -> None:
        """An answer, in pieces."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.told.asked.append(body)
        if "include_timings" in body and not self.told.knows_timings:
            error = {"message": "include_timings is unknown", "param": "include_timings"}
            self._say(400, {"error": error})
        elif self.path != "/v1/chat/completions" or "messages" not in body:
            self._say(404, {"error": {"message": "no such endpoint"}})
        else:
            self._stream()

    def _say(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        *first, last = self.told.pieces
        try:
            for piece in first:
                self._send({"choices": [{"delta": {"content": piece}}]})
            while not self.told.go_on.wait(0.05):
                # What a client that is gone does not take.
                self.wfile.write(b": still here\n\n")
                self.wfile.flush()
            if self.told.breaks_off:
                return
            self._send({"choices": [{"delta": {"content": last}, "finish_reason": "stop"}]})
            usage = {"prompt_tokens": 70, "completion_tokens": 5}
            self._send({"choices": [], "usage": usage, "timings": self.told.timings})
            self.wfile.write(b"data: [DONE]\n\n")
        except (BrokenPipeError, ConnectionResetError):
            self.told.left.set()

    def _send(self, chunk: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.flush()
