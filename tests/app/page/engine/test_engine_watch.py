"""One look serves all visitors, and says what is wrong."""

from __future__ import annotations

import asyncio
from typing import Any

from octavo.app.page.engine.engine_watch import EngineWatch, Look
from octavo.app.page.engine.live_view import live_view
from octavo.app.page.server.server_api import ServerError


class Server:
    """Answers as one would, from what a test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[str] = []
        self.failure: Exception | None = None
        self.dead: Exception | None = None
        self.start = 1.0
        self.build = "# TYPE octavo_build_info gauge\noctavo_build_info 1\n"
        self.watch = EngineWatch(self, lambda: self.now)  # type: ignore[arg-type]

    async def metrics(self) -> str:
        self.asked.append("/metrics")
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        name = "process_start_time_seconds"
        return f"{self.build}# TYPE {name} gauge\n{name} {self.start}\n"

    async def get(self, path: str) -> dict[str, Any]:
        self.asked.append(path)
        if path == "/health" and self.dead is not None:
            raise self.dead
        return {"model": f"of {self.start}"}

    async def looks(self, *times: float) -> list[Look]:
        found = []
        for self.now in times:
            found.append(await self.watch.look())
        return found


def test_visitors_share_looks() -> None:
    async def scenario() -> None:
        server = Server()
        looks = await asyncio.gather(*(server.watch.look() for _ in range(5)))
        assert [look.number for look in looks] == [1] * 5
        assert server.asked == ["/metrics", "/health", "/info"]
        later = await server.looks(0.3, 0.6, 1.0, 1.3, 2.0)
        assert [look.number for look in later] == [1, 1, 2, 2, 3]
        assert server.asked.count("/metrics") == 3
        assert server.asked.count("/info") == 1

    asyncio.run(scenario())


def test_a_visitor_who_leaves_takes_no_look_from_others() -> None:
    async def scenario() -> None:
        server = Server()
        first = asyncio.ensure_future(server.watch.look())
        second = asyncio.ensure_future(server.watch.look())
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).number == 1

    asyncio.run(scenario())


def test_a_server_that_is_gone_or_loads_is_told_of_until_it_is_back() -> None:
    async def scenario() -> None:
        server = Server()
        (fine,) = await server.looks(0)
        assert (fine.trouble, fine.info, len(fine.history)) == ("", {"model": "of 1.0"}, 1)
        server.failure = ServerError("the server can't be reached; does it still run?")
        (gone,) = await server.looks(1)
        assert gone.trouble == "The server can't be reached; does it still run?"
        assert len(gone.history) == 1
        server.failure = ServerError("x is loading; send the request again soon", 503)
        (loads,) = await server.looks(2)
        assert loads.trouble == "X is loading; send the request again soon."
        server.failure, server.dead = None, ServerError("the engine is restarting", 503)
        (restarts,) = await server.looks(3)
        assert restarts.trouble == "The engine is restarting."
        server.dead, server.start = None, 2.0
        (back,) = await server.looks(4)
        assert (back.trouble, back.info) == ("", {"model": "of 2.0"})
        assert len(back.history) == 2

    asyncio.run(scenario())


def test_another_server_tells_nothing() -> None:
    async def scenario() -> None:
        server = Server()
        server.build = ""
        (vllm,) = await server.looks(0)
        server.failure = ServerError("Not Found", 404)
        (none,) = await server.looks(1)
        for look in (vllm, none):
            assert "tells nothing of its engine" in look.trouble
            assert "octavo-tiles" not in live_view(look)
        assert "/info" not in server.asked

    asyncio.run(scenario())
