"""A server's batches on the disk, answered by a function in the server's place."""

from __future__ import annotations

import asyncio
import errno
import functools
import io
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from octavo.app.batches import recorder
from octavo.app.batches.answers import Answer
from octavo.app.batches.batch_store import Batch
from octavo.app.batches.batches import WINDOW_S, Batches
from octavo.app.batches.file_store import FileLimits
from octavo.app.batches.input_file import LineRules
from octavo.app.batches.storage import FolderInUseError, Storage
from octavo.core.protocol.config import ConfigError

URL = "/v1/chat/completions"
LIMITS = FileLimits(2**20, 2**22)


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("octavo.app.batches.line_runs._FIRST_PAUSE_S", 0.01)


class Server:
    """Answers a line with its body; one that says "wait" never, "busy" only at its third try."""

    def __init__(self, folder: Path, limits: FileLimits = LIMITS) -> None:
        self.folder, self.limits = folder, limits
        self.now = 1_000_000.0
        self.asked: list[dict[str, Any]] = []
        self.running = self.most_running = 0
        self.released = asyncio.Event()

    async def ask(self, path: str, body: bytes, owner: str = "") -> Answer:
        fields = json.loads(body)
        self.asked.append(fields)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(0)
            if fields.get("wait"):
                await self.released.wait()
        finally:
            self.running -= 1
        if fields.get("busy") and self.asked.count(fields) < 3:
            return Answer(503, "req-1", b'{"error": {"message": "", "code": "overloaded"}}')
        if fields.get("dies"):
            return Answer(503, "req-1", b'{"error": {"message": "", "code": "engine_dead"}}')
        return Answer(fields.get("status", 200), "req-1", body)

    @asynccontextmanager
    async def running_batches(self, max_requests: int | None = None) -> AsyncIterator[Batches]:
        storage = Storage.open(self.folder, self.limits)
        rules = LineRules((URL, "/v1/completions"), "model", 1000, max_requests)
        batches = Batches(storage, self.ask, lambda: True, rules, 4, lambda: self.now)
        await batches.resume()
        try:
            yield batches
        finally:
            await batches.close()


def line(custom_id: str, body: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    fields = {"custom_id": custom_id, "method": "POST", "url": URL, "body": body or {}}
    return {name: value for name, value in (fields | changes).items() if value != "left out"}


def written(lines: list[Any]) -> bytes:
    return b"".join((x if isinstance(x, bytes) else json.dumps(x).encode()) + b"\n" for x in lines)


async def begun(batches: Batches, lines: list[Any]) -> Batch:
    data = written(lines)
    files = batches.storage.files
    stored = await asyncio.to_thread(files.add, io.BytesIO(data), len(data), "in.jsonl", 7, 0)
    return await batches.create(stored.id, URL, None)


async def reached(batches: Batches, batch: Batch, *statuses: str) -> dict[str, Any]:
    while (found := await batches.get(batch.id)) is None or found.status not in statuses:
        await asyncio.sleep(0.01)
    return await batches.told(found)


def results(batches: Batches, told: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Lines of the output, and of the file of errors."""
    files = (told["output_file_id"], told["error_file_id"])
    texts = ["" if f is None else batches.storage.files.path(f).read_text() for f in files]
    output, errors = ([json.loads(row) for row in text.splitlines()] for text in texts)
    return output, errors


@in_loop
async def test_every_line_is_answered_once_few_at_a_time(tmp_path: Path) -> None:
    server = Server(tmp_path)
    lines = [line(f"r{i}", {"status": 400 if i % 10 == 3 else 200, "i": i}) for i in range(100)]
    async with server.running_batches() as batches:
        batch = await begun(batches, [*lines, b"  ", line("late", {"busy": True})])
        assert (batch.status, batch.expires_at) == ("validating", 1_000_000 + WINDOW_S)
        told = await reached(batches, batch, "completed")
        output, errors = results(batches, told)
        assert told["request_counts"] == {"total": 101, "completed": 91, "failed": 10}
        assert [row["custom_id"] for row in output] == [
            row["custom_id"] for row in lines if row["body"]["status"] == 200
        ] + ["late"]
        assert [row["response"]["body"]["i"] for row in errors] == list(range(3, 100, 10))
        assert all(row["response"]["status_code"] == 400 and not row["error"] for row in errors)
        assert server.most_running <= 4
        assert not batches.storage.results.num_bytes


@in_loop
async def test_a_line_that_ends_the_engine_fails_at_last(tmp_path: Path) -> None:
    server = Server(tmp_path)
    async with server.running_batches() as batches:
        batch = await begun(batches, [line("bad", {"dies": True}), line("good")])
        told = await reached(batches, batch, "completed")
        _, (error,) = results(batches, told)
        assert (error["custom_id"], error["error"]["code"]) == ("bad", "server_error")
        assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("bad", "code", "param"),
    [
        (b"{", "invalid_json_line", None),
        (b"[1]", "invalid_json_line", None),
        (b"\xff", "invalid_json_line", None),
        (line("r", priority=1), "unknown_parameter", "priority"),
        (line("r", body="left out"), "missing_required_parameter", "body"),
        (line("r", method="GET"), "invalid_method", "method"),
        (line("r", url="/v1/completions"), "invalid_url", "url"),
        (line("r", body=[1]), "invalid_body", "body"),
        (line("r", {"stream": True}), "unsupported_value", "body.stream"),
        (line("r", {"model": "other"}), "model_not_found", "body.model"),
        (line(""), "invalid_custom_id", "custom_id"),
        (line("first"), "duplicate_custom_id", "custom_id"),
        (line("r", {"x": "a" * 100_000}), "line_too_large", None),
    ],
)
@in_loop
async def test_bad_lines_are_named_and_none_is_sent(
    tmp_path: Path, bad: Any, code: str, param: str | None
) -> None:
    server = Server(tmp_path)
    async with server.running_batches() as batches:
        batch = await begun(batches, [line("first", {"model": "model"}), bad, line("third")])
        told = await reached(batches, batch, "failed")
        (error,) = told["errors"]["data"]
        assert (error["code"], error["line"], error["param"]) == (code, 2, param)
        assert not server.asked
        assert told["output_file_id"] is told["error_file_id"] is None


@in_loop
async def test_files_without_requests_or_with_too_many_fail(tmp_path: Path) -> None:
    server = Server(tmp_path)
    async with server.running_batches(max_requests=2) as batches:
        for lines, code in (([b""], "empty_file"), ([line(i) for i in "abc"], "too_many_requests")):
            told = await reached(batches, await begun(batches, lines), "failed")
            assert told["errors"]["data"][0]["code"] == code


@in_loop
async def test_what_is_cancelled_keeps_what_was_answered(tmp_path: Path) -> None:
    server = Server(tmp_path)
    lines = [line("done"), *(line(f"r{i}", {"wait": True}) for i in range(9))]
    async with server.running_batches() as batches:
        batch = await begun(batches, lines)
        while not batches.storage.results.count(batch.id)[0]:
            await asyncio.sleep(0.01)
        while server.running < 4:
            await asyncio.sleep(0.01)
        cancelled = await batches.cancel(batch.id)
        assert cancelled is not None
        assert cancelled.status == "cancelling"
        told = await reached(batches, batch, "cancelled")
        output, errors = results(batches, told)
        assert [row["custom_id"] for row in output] == ["done"]
        assert [row["custom_id"] for row in errors] == [f"r{i}" for i in range(9)]
        assert {row["error"]["code"] for row in errors} == {"batch_cancelled"}
        assert (server.running, server.most_running) == (0, 4)
        assert await batches.cancel(batch.id) is None


@in_loop
async def test_what_is_not_done_in_a_day_expires(tmp_path: Path) -> None:
    server = Server(tmp_path)
    async with server.running_batches() as batches:
        batch = await begun(batches, [line("done"), line("slow", {"wait": True})])
        while not batches.storage.results.count(batch.id)[0]:
            await asyncio.sleep(0.01)
        server.now += WINDOW_S
        told = await reached(batches, batch, "expired")
        output, (error,) = results(batches, told)
        assert [row["custom_id"] for row in output] == ["done"]
        assert (error["custom_id"], error["error"]["code"]) == ("slow", "batch_expired")
        assert (told["expired_at"], told["completed_at"]) == (1_000_000 + WINDOW_S, None)


@in_loop
async def test_what_was_stopped_goes_on(tmp_path: Path) -> None:
    server = Server(tmp_path)
    lines = [line("a"), line("b", {"wait": True}), line("c", {"wait": True})]
    async with server.running_batches() as batches:
        batch = await begun(batches, lines)
        while not batches.storage.results.count(batch.id)[0]:
            await asyncio.sleep(0.01)
    server.released.set()
    async with server.running_batches() as batches:
        output, _ = results(batches, await reached(batches, batch, "completed"))
        assert [row["custom_id"] for row in output] == ["a", "b", "c"]
        assert len(server.asked) == 5, "a was asked once"


@in_loop
async def test_batches_of_another_model_wait_for_it(tmp_path: Path) -> None:
    server = Server(tmp_path)
    async with server.running_batches() as batches:
        batch = await begun(batches, [line("a", {"wait": True})])
    storage = Storage.open(tmp_path, LIMITS)
    rules = LineRules((URL,), "another", 1000)
    other = Batches(storage, server.ask, lambda: True, rules, 4, time.time)
    await other.resume()
    server.released.set()
    assert (await other.told(batch))["status"] in ("validating", "in_progress")
    await other.close()
    async with server.running_batches() as batches:
        await reached(batches, batch, "completed")


@in_loop
async def test_a_full_disk_is_told_and_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "RETRY_S", 0.01)
    server = Server(tmp_path, FileLimits(2**20, 1000))
    async with server.running_batches() as batches:
        files = batches.storage.files
        with pytest.raises(OSError, match="take 0 of the 1000 bytes") as raised:
            files.add(io.BytesIO(b"x" * 1001), 1001, "large", 7, 0)
        assert raised.value.errno == errno.ENOSPC
        batch = await begun(batches, [line("a", {"wait": True})])
        rest = 1000 - files.num_bytes
        other = await asyncio.to_thread(files.add, io.BytesIO(b"x" * rest), rest, "other", 7, 0)
        server.released.set()
        told: dict[str, Any] = {"errors": None}
        while told["errors"] is None:
            await asyncio.sleep(0.01)
            told = await batches.told(await batches.get(batch.id) or batch)
        assert (told["status"], told["errors"]["data"][0]["code"]) == (
            "in_progress",
            "storage_full",
        )
        await asyncio.to_thread(files.delete, other.id)
        told = await reached(batches, batch, "completed")
        assert told["errors"] is None
        assert len(server.asked) == 1


def test_a_folder_is_of_one_server_and_its_owner(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    storage = Storage.open(folder, LIMITS)
    assert folder.stat().st_mode & 0o777 == 0o700
    stored = storage.files.add(io.BytesIO(b"data"), 4, "name", 7, 0)
    with pytest.raises(FolderInUseError, match="in use by another server"):
        Storage.open(folder, LIMITS)
    storage.close()
    # What a process that was killed left behind.
    (folder / "files" / "file-half.tmp").write_bytes(b"ha")
    storage = Storage.open(folder, LIMITS)
    assert [path.name for path in (folder / "files").iterdir()] == [stored.id]
    assert storage.files.get(stored.id) == stored
    storage.close()
    (folder / "batches.sqlite").write_bytes(b"a diary, longer than a header of a database" * 99)
    with pytest.raises(ConfigError, match="damaged"):
        Storage.open(folder, LIMITS)
