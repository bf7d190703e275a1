"""A local server that speaks as much of the Hugging Face hub's interface as downloads need."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import huggingface_hub
import pytest


class Hub(BaseHTTPRequestHandler):
    """For one repository, whatever it is called."""

    taken: list[str]
    commit = "0" * 40

    def __init__(self, folder: Path, taken: list[str], *arguments: object) -> None:
        self.folder, self.taken = folder, taken
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/"):
            files = {
                file.relative_to(self.folder).as_posix(): file.stat().st_size
                for file in sorted(self.folder.rglob("*"))
                if file.is_file()
            }
            siblings = [{"rfilename": name} for name in files]
            listing = {"id": "some/model", "sha": self.commit, "siblings": siblings}
            if "/tree/" in path:
                listing = [  # type: ignore[assignment]
                    {"type": "file", "path": name, "size": size, "oid": name}
                    for name, size in files.items()
                ]
            content = json.dumps(listing).encode()
        else:
            name = path.split("/resolve/", 1)[1].partition("/")[2]
            content = (self.folder / name).read_bytes()
            if body:
                self.taken.append(name)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{path.rsplit("/", 1)[1]}"')
        self.send_header("X-Repo-Commit", self.commit)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Not to the tests' output."""


@contextmanager
def served_as_hub(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[str]]:
    """The names of the files that are downloaded of a folder, which is every repository."""
    taken: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, folder, taken))
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    constants = huggingface_hub.constants
    address = f"http://127.0.0.1:{server.server_port}"
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    try:
        yield taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
