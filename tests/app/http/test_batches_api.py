"""Files and batches, by OpenAI's client."""

from __future__ import annotations

import base64
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import openai
import pytest
from openai import OpenAI
from openai.types import Batch
from serving import is_healthy, running_server, wait_until

PIZZA = Path(__file__).parents[3] / "examples" / "images" / "pizza.png"
CHAT = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("batches")
    with running_server(
        "--dtype=float32",
        "--kv-cache-memory=64MiB",
        f"--batch-dir={folder / 'kept'}",
        "--max-batch-file-mib=1",
        # One request has all the room that there is.
        "--max-num-seqs=1",
        "--max-num-queued-reqs=0",
    ) as base:
        yield base


def line(custom_id: str, url: str = CHAT, **body: Any) -> dict[str, Any]:
    if url == CHAT and "messages" not in body:
        body["messages"] = [{"role": "user", "content": "Hello"}]
    body = {"max_tokens": 4, **body} if url != "/v1/responses" else body
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def sent(client: OpenAI, lines: list[dict[str, Any]], name: str = "in.jsonl") -> str:
    data = "\n".join(map(json.dumps, lines)).encode()
    return client.files.create(file=(name, data), purpose="batch").id


def begun(client: OpenAI, lines: list[dict[str, Any]], endpoint: Any = CHAT) -> Batch:
    return client.batches.create(
        input_file_id=sent(client, lines), endpoint=endpoint, completion_window="24h"
    )


def ended(client: OpenAI, batch: Batch) -> Batch:
    def has_ended() -> bool:
        return client.batches.retrieve(batch.id).status in ENDED

    wait_until(has_ended, 120)
    return client.batches.retrieve(batch.id)


def test_answers_are_as_the_document_has_them(url: str, client: OpenAI) -> None:
    document = httpx.get(f"{url}/openapi.json").json()
    batch = ended(client, begun(client, [line("a")]))
    for path, name in (
        ("batches", "Batches"),
        (f"batches/{batch.id}", "Batch"),
        ("files", "Files"),
        (f"files/{batch.output_file_id}", "File"),
    ):
        answer = httpx.get(f"{url}/v1/{path}").json()
        jsonschema.validate(answer, {"$ref": f"#/components/schemas/{name}", **document})


def rows(client: OpenAI, file_id: str | None) -> dict[str, dict[str, Any]]:
    """Lines of a file, by their custom_id, each of which is there once."""
    if file_id is None:
        return {}
    found = [json.loads(row) for row in client.files.content(file_id).text.splitlines()]
    assert len({row["custom_id"] for row in found}) == len(found)
    return {row["custom_id"]: row for row in found}


def test_chats_with_forms_tools_and_pictures(client: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}},
        "required": ["colour"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "colour", "schema": schema}}
    picture = f"data:image/png;base64,{base64.b64encode(PIZZA.read_bytes()).decode()}"
    parts = [
        {"type": "image_url", "image_url": {"url": picture}},
        {"type": "text", "text": "What is this?"},
    ]
    lines = [
        line("plain", temperature=0),
        line("form", response_format=form, max_tokens=64),
        line("picture", messages=[{"role": "user", "content": parts}], max_tokens=16),
        line("wrong", temperature=-1),
        line("unknown", colour="red"),
        line(
            "elsewhere",
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
                    ],
                }
            ],
        ),
    ]
    batch = client.batches.create(
        input_file_id=sent(client, lines),
        endpoint=CHAT,
        completion_window="24h",
        metadata={"job": "seven"},
    )
    batch = ended(client, batch)
    assert (batch.status, batch.metadata) == ("completed", {"job": "seven"})
    counts = batch.request_counts
    assert counts is not None
    assert (counts.total, counts.completed, counts.failed) == (6, 3, 3)
    output, errors = rows(client, batch.output_file_id), rows(client, batch.error_file_id)
    online = client.chat.completions.create(model="octavo-demo", **lines[0]["body"])
    answers = {name: row["response"]["body"]["choices"][0] for name, row in output.items()}
    assert answers["plain"]["message"]["content"] == online.choices[0].message.content
    assert json.loads(answers["form"]["message"]["content"])["colour"] in ("red", "blue")
    assert "pizza" in answers["picture"]["message"]["content"]
    for name, row in errors.items():
        body = next(x["body"] for x in lines if x["custom_id"] == name)
        refused = httpx.post(f"{str(client.base_url).removesuffix('/v1/')}{CHAT}", json=body)
        assert row["response"]["status_code"] == refused.status_code
        assert row["response"]["body"] == refused.json()
        assert row["response"]["request_id"].startswith("req-")


def test_completions_and_responses(client: OpenAI) -> None:
    batch = ended(
        client, begun(client, [line("a", "/v1/completions", prompt="The dog")], "/v1/completions")
    )
    (row,) = rows(client, batch.output_file_id).values()
    assert row["response"]["body"]["choices"][0]["text"]
    body = {"input": "Hello", "max_output_tokens": 4}
    lines = [line("a", "/v1/responses", **body), line("b", "/v1/responses", **body, store=True)]
    batch = ended(client, begun(client, lines, "/v1/responses"))
    output = rows(client, batch.output_file_id)
    a, b = (output[name]["response"]["body"] for name in "ab")
    assert (a["store"], b["store"]) == (False, True)
    assert client.responses.retrieve(b["id"]).output_text
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(a["id"])


def test_bad_lines_fail_the_batch_by_number(client: OpenAI) -> None:
    lines = [line("a"), line("a"), line("b", stream=True), line("c", "/v1/completions")]
    batch = ended(client, begun(client, lines))
    assert batch.status == "failed"
    assert batch.errors is not None
    assert [(e.line, e.code, e.param) for e in batch.errors.data or []] == [
        (2, "duplicate_custom_id", "custom_id"),
        (3, "unsupported_value", "body.stream"),
        (4, "invalid_url", "url"),
    ]


def test_a_batch_is_cancelled(client: OpenAI) -> None:
    lines = [line(str(i), max_tokens=1000, ignore_eos=True) for i in range(200)]
    batch = begun(client, lines)
    wait_until(lambda: client.batches.retrieve(batch.id).status == "in_progress")
    with pytest.raises(openai.ConflictError, match=f"is the input of {batch.id}"):
        client.files.delete(batch.input_file_id)
    # One that a client waits for is neither refused nor behind any of these.
    hello: Any = {"role": "user", "content": "Hello"}
    client.chat.completions.create(model="octavo-demo", messages=[hello], max_tokens=2)
    counts = client.batches.retrieve(batch.id).request_counts
    assert counts is not None
    assert counts.completed < 100
    assert client.batches.cancel(batch.id).status == "cancelling"
    batch = ended(client, batch)
    assert batch.status == "cancelled"
    output, errors = rows(client, batch.output_file_id), rows(client, batch.error_file_id)
    assert sorted([*output, *errors], key=int) == [str(i) for i in range(200)]
    assert {row["error"]["code"] for row in errors.values()} == {"batch_cancelled"}
    with pytest.raises(openai.ConflictError, match="is cancelled, and can't be cancelled"):
        client.batches.cancel(batch.id)
    assert client.files.delete(batch.input_file_id).deleted


def test_files_are_listed_told_and_deleted(client: OpenAI) -> None:
    ids = [sent(client, [line("a")], f"{i}.jsonl") for i in range(5)]
    newest = client.files.list(limit=2)
    assert [file.id for file in newest.data] == ids[:-3:-1]
    assert [file.id for file in newest][:5] == ids[::-1], "all pages"
    oldest_first = [file.id for file in client.files.list(order="asc", limit=2, after=ids[1])]
    assert oldest_first == ids[2:]
    assert all(file.purpose == "batch_output" for file in client.files.list(purpose="batch_output"))
    file = client.files.retrieve(ids[0])
    data = client.files.content(ids[0]).read()
    assert (file.filename, file.bytes) == ("0.jsonl", len(data))
    assert json.loads(data) == line("a")
    assert client.files.delete(ids[0]).deleted
    for gone in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            gone(ids[0])
    with pytest.raises(openai.NotFoundError):
        client.files.list(after=ids[0])
    with pytest.raises(openai.BadRequestError, match="limit must be a number from 1 to 10000"):
        client.files.list(limit=0)


def test_batches_are_listed_in_pages(client: OpenAI) -> None:
    made = [ended(client, begun(client, [line("a")])).id for _ in range(3)]
    page = client.batches.list(limit=2)
    assert [batch.id for batch in page.data] == made[:0:-1]
    assert [batch.id for batch in page][:3] == made[::-1]
    with pytest.raises(openai.NotFoundError):
        client.batches.list(after="batch_none")
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_none")


def test_what_is_not_honoured_is_refused_by_name(client: OpenAI) -> None:
    data = ("a.jsonl", json.dumps(line("a")).encode())
    with pytest.raises(openai.BadRequestError, match='purpose can only be "batch" here'):
        client.files.create(file=data, purpose="vision")
    expiry: Any = {"anchor": "created_at", "seconds": 3600}
    with pytest.raises(openai.BadRequestError, match=r"expires_after\[anchor\] is not honoured"):
        client.files.create(file=data, purpose="batch", expires_after=expiry)
    with pytest.raises(openai.APIStatusError, match="larger than") as raised:
        client.files.create(file=("large.jsonl", b" " * 2**21), purpose="batch")
    assert raised.value.status_code == 413
    make = client.batches.create
    given: dict[str, Any] = {"input_file_id": sent(client, [line("a")]), "endpoint": CHAT}
    with pytest.raises(openai.BadRequestError, match="output_expires_after is not honoured"):
        make(**given, completion_window="24h", output_expires_after=expiry)
    with pytest.raises(openai.BadRequestError, match='completion_window can only be "24h"'):
        make(**given, completion_window="1h")  # type: ignore[arg-type]
    with pytest.raises(openai.BadRequestError, match="endpoint can only be /v1/chat/completions"):
        make(**given | {"endpoint": "/v1/embeddings"}, completion_window="24h")
    with pytest.raises(openai.NotFoundError, match="no file 'file-none'"):
        make(**given | {"input_file_id": "file-none"}, completion_window="24h")
    with pytest.raises(openai.BadRequestError, match="metadata has more than 16 pairs"):
        make(**given, completion_window="24h", metadata={str(i): "" for i in range(17)})


class Servers:
    """One after the other on the same folder, at the same port."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.base = f"http://127.0.0.1:{port}"
        self._command = [sys.executable, "-m", "octavo", "serve", "--port", str(port)]
        self._command += ["--dtype=float32", "--kv-cache-memory=64MiB", f"--batch-dir={folder}"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(self._command, env=environment)
        wait_until(lambda: is_healthy(self.base), 60)

    def end(self, how: str) -> int:
        assert self._process is not None
        getattr(self._process, how)()
        return self._process.wait()


@pytest.mark.slow
def test_a_killed_server_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    num_lines, rng = 300, random.Random(5)
    servers = Servers(tmp_path / "kept")
    servers.start()
    lines = [line(str(i), temperature=-1 if i % 7 == 0 else 0) for i in range(num_lines)]
    with OpenAI(base_url=f"{servers.base}/v1", api_key="none") as client:
        batch = begun(client, lines)
        for _ in range(3):
            time.sleep(rng.uniform(0.0, 1.5))
            servers.end("kill")
            servers.start()
        batch = ended(client, batch)
        assert batch.status == "completed"
        output, errors = rows(client, batch.output_file_id), rows(client, batch.error_file_id)
        assert sorted(output, key=int) == [str(i) for i in range(num_lines) if i % 7]
        assert sorted(errors, key=int) == [str(i) for i in range(num_lines) if not i % 7]
        counts = batch.request_counts
        assert counts is not None
        assert (counts.completed, counts.failed) == (len(output), len(errors))
        # A server that is told to stop doesn't wait for a batch.
        batch = begun(client, [line("long", max_tokens=2000, ignore_eos=True)])
    assert servers.end("terminate") == 0
