"""A server answers bodies of every hostile kind, and serves on."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import httpx
from octavo.bench.hostile_bodies import Flood
from octavo.bench.hostile_body_kinds import hostile_bodies
from octavo.bench.server_process import ServerClient
from serving import chat

NUM_BODIES = 160


def test_hostile_bodies_are_answered(demo_server: str) -> None:
    """`python -m octavo.bench.hostile_bodies` sends a thousand to SmolLM2."""
    engine = httpx.get(f"{demo_server}/health").json()["engine_pid"]
    flood = Flood(ServerClient(urlsplit(demo_server).port or 80), engine)
    asyncio.run(flood.send(hostile_bodies(NUM_BODIES, seed=0)))
    statuses = {status for _, status in flood.answers}
    assert flood.answers.total() == NUM_BODIES
    assert not {status for status in statuses if status.startswith("5")}, flood.answers
    assert {"200", "400"} <= statuses
    assert {kind for kind, status in flood.answers if status == "400"} >= {"nesting", "shape"}
    assert httpx.get(f"{demo_server}/health").json()["engine_pid"] == engine
    assert chat(demo_server).status_code == 200
