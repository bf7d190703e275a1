"""Of a server's processes the engine's alone holds torch, also after a question about a picture."""

from __future__ import annotations

import base64
from pathlib import Path

import httpx
import octavo
from process_tree import descendants, parents
from serving import chat

PICTURE = Path(octavo.__file__).parent / "examples" / "images" / "dog.png"


def holds(pid: int, library: str) -> bool:
    return library in Path(f"/proc/{pid}/maps").read_text()


def test_only_the_engine_has_loaded_torch(demo_server: str) -> None:
    data = base64.b64encode(PICTURE.read_bytes()).decode()
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    content = [{"type": "text", "text": "What is this?"}, picture]
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": 4}
    answer = httpx.post(f"{demo_server}/v1/chat/completions", json=body, timeout=240)
    assert answer.status_code == 200
    assert chat(demo_server, max_tokens=4).status_code == 200
    engine: int = httpx.get(f"{demo_server}/health").json()["engine_pid"]
    front = parents()[engine]
    processes = {front} | descendants(front)
    # The front, the engine, and those that read pictures.
    assert len(processes) >= 4
    assert {pid for pid in processes if holds(pid, "libtorch")} == {engine}
