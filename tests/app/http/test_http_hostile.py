"""A server under damaged files, bombs and floods of large images answers, and stays the same."""

from __future__ import annotations

import base64
import io
import os
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from image_mutations import mutated_files
from PIL import Image

#: 5,000 take about two minutes.
NUM_FILES = int(os.environ.get("OCTAVO_HOSTILE_FILES", "400"))


@pytest.fixture(scope="module")
def url(demo_server: str) -> str:
    return demo_server


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60) as shared:
        yield shared


def post(client: httpx.Client, base: str, data: bytes) -> httpx.Response:
    url = "data:image/x;base64," + base64.b64encode(data).decode()
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "?"}]
    body = {"messages": [{"role": "user", "content": parts}], "max_tokens": 1}
    return client.post(f"{base}/v1/chat/completions", json=body)


def processes(root: int) -> list[int]:
    """A process and all that it started, by their parents."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(status.parent.name)] = int(fields[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def cpu_seconds(pids: list[int]) -> float:
    """Of all their threads until now."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_mib(pids: list[int]) -> float:
    """Memory of their own, so that what forked processes share is not counted twice."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Private_Clean:", "Private_Dirty:")):
                total += int(line.split()[1])
    return total / 1024


def server_pid(client: httpx.Client, base: str) -> int:
    """The parent of the engine's process."""
    engine = client.get(f"{base}/health").json()["engine_pid"]
    fields = Path(f"/proc/{engine}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1])


def test_damaged_files_are_answered_and_leave_nothing(url: str, client: httpx.Client) -> None:
    root = server_pid(client, url)
    statuses: Counter[int] = Counter()

    def send(files: list[tuple[str, bytes]]) -> None:
        with ThreadPoolExecutor(4) as pool:
            for (name, _), answer in zip(
                files, pool.map(lambda f: post(client, url, f[1]), files), strict=True
            ):
                statuses[answer.status_code] += 1
                assert answer.status_code in (200, 400), (name, answer.text)

    files = list(mutated_files(NUM_FILES, seed=1))
    warm = len(files) // 2
    send(files[:warm])
    before = sorted(processes(root)), resident_mib(processes(root))
    send(files[warm:])
    after = sorted(processes(root)), resident_mib(processes(root))
    assert after[0] == before[0]
    assert after[1] < before[1] + 40
    assert min(statuses[200], statuses[400]) > NUM_FILES // 20


def png_chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def giant_png(side: int) -> bytes:
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    chunks = (b"IHDR", head), (b"IDAT", rows), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def text_bomb() -> bytes:
    head = struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)
    text = b"comment\0\0" + zlib.compress(bytes(200 * 2**20), 9)
    rows = zlib.compress(bytes(65 * 64))
    chunks = (b"IHDR", head), (b"zTXt", text), (b"IDAT", rows), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def long_animation() -> bytes:
    """A WebP of 10,001 frames: one real frame, over and over."""
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:])
    data = buffer.getvalue()
    start = data.index(b"ANMF")
    size = 8 + struct.unpack("<I", data[start + 4 : start + 8])[0]
    body = data[8:] + data[start : start + size] * 9_999
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: giant_png(50_000), "50000 x 50000"),
        (long_animation, "frames"),
    ],
)
def test_bombs_are_refused_from_the_header(
    url: str, client: httpx.Client, make: object, message: str
) -> None:
    bomb = make()  # type: ignore[operator]
    pids = processes(server_pid(client, url))
    before = cpu_seconds(pids)
    for i in range(5):
        answer = post(client, url, bomb + bytes(i))
        assert answer.status_code == 400
        assert message in answer.json()["error"]["message"]
    # Of some milliseconds each.
    assert cpu_seconds(pids) - before < 2


def test_a_bomb_in_a_comment_is_never_inflated(url: str, client: httpx.Client) -> None:
    root = server_pid(client, url)
    before = resident_mib(processes(root))
    answer = post(client, url, text_bomb())
    assert answer.status_code in (200, 400)
    assert resident_mib(processes(root)) < before + 40


def test_health_answers_while_large_images_pour_in(url: str, client: httpx.Client) -> None:
    """`python -m octavo.bench.image_flood` measures how soon, from another process."""
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG", compress_level=0)
    large = buffer.getvalue()
    end = threading.Event()

    def flood(index: int) -> list[int]:
        statuses = []
        while not end.is_set():
            # Bytes after the end of a picture make it another file.
            data = large + index.to_bytes(2, "big") + len(statuses).to_bytes(2, "big")
            statuses.append(post(client, url, data).status_code)
        return statuses

    with ThreadPoolExecutor(4) as pool:
        floods = [pool.submit(flood, i) for i in range(4)]
        for _ in range(60):
            assert client.get(f"{url}/health").status_code == 200
            time.sleep(0.02)
        end.set()
        statuses = {status for future in floods for status in future.result()}
    assert statuses == {200}
