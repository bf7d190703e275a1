"""Where a server keeps its batches, and what it says if it can't."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from octavo.app.batches.answers import Answer
from octavo.app.batches.file_store import FileLimits
from octavo.app.batches.storage import FolderInUseError
from octavo.app.http.batches.batch_service import BatchConfig, BatchService, running_batches
from octavo.app.http.batches.routes import batch_routes
from octavo.app.http.errors import EXCEPTION_HANDLERS, HttpError
from octavo.core.prompts.input_processor import RequestOptions
from octavo.core.protocol.config import EngineConfig
from starlette.applications import Starlette
from starlette.testclient import TestClient


async def ask(path: str, body: bytes, owner: str = "") -> Answer:
    raise AssertionError("there is no line")


def service(folder: Path | None) -> BatchService:
    config = BatchConfig(folder, FileLimits(2**20, 2**20), 1)
    return BatchService(config, ("/v1/completions",), "a/model", 2**20, ask, lambda: True)


def test_the_default_folder_is_made_when_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    async def scenario() -> None:
        first, second = service(None), service(None)
        await first.resume()
        assert not list(tmp_path.iterdir())
        await first.open()
        assert (tmp_path / "octavo" / "batches" / "a_model" / "batches.sqlite").exists()
        # Of a second server: it runs all the same.
        await second.resume()
        with pytest.raises(HttpError, match="in use by another server") as raised:
            await second.open()
        assert raised.value.status == 503
        await first.close()
        await second.open()
        await second.close()
        with pytest.raises(HttpError, match="shutting down"):
            await second.open()

    asyncio.run(scenario())


def test_a_folder_that_was_named_must_be_free(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = service(tmp_path)
        await first.resume()
        with pytest.raises(FolderInUseError, match="give each a folder of its own"):
            await service(tmp_path).resume()
        await first.close()

    asyncio.run(scenario())


def test_a_server_without_batches_says_so() -> None:
    app = Starlette(routes=batch_routes(), exception_handlers=EXCEPTION_HANDLERS)

    async def scenario() -> None:
        async with running_batches(app, None, (), "model", 2**20, lambda: True):
            pass

    asyncio.run(scenario())
    with TestClient(app) as client:
        for answer in (client.get("/v1/files"), client.get("/v1/batches/batch_1")):
            assert answer.status_code == 404
            assert "see --batch-dir" in answer.json()["error"]["message"]


def test_the_operators_timeouts_are_for_requests_that_somebody_waits_for() -> None:
    config = EngineConfig(model="model", queue_timeout=1.0, request_timeout=2.0)
    online = RequestOptions().with_defaults(config)
    assert (online.queue_timeout, online.timeout) == (1.0, 2.0)
    line = RequestOptions(timeout=9.0, background=True).with_defaults(config)
    assert (line.queue_timeout, line.timeout) == (None, 9.0)
