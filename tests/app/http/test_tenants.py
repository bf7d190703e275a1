"""Who may use a server whose keys are in a file, by OpenAI's client."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest
from openai import (
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    OpenAI,
    PermissionDeniedError,
    RateLimitError,
)
from openai.types import Batch
from openapi_spec_validator import OpenAPIV31SpecValidator
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from serving import running_server, wait_until

CHAT: Any = "/v1/chat/completions"
SERVER = ("--dtype=float32", "--kv-cache-memory=64MiB", "--log-format=json", "--media-workers=1")
#: The entries beside their hashes; a key is its name.
ENTRIES: dict[str, str] = {
    "alice": "",
    "bob": "",
    "operator": "admin = true",
    "one": "requests_per_minute = 1",
    "few": "tokens_per_minute = 500",
    "small": "image_pixels_per_minute = 1000",
    "single": "concurrent_requests = 1",
    "slow": "requests_per_minute = 3",
}


def entry(name: str, fields: str = "") -> str:
    return f'[{name}]\nsha256 = "{hashlib.sha256(name.encode()).hexdigest()}"\n{fields}\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tenants")


@pytest.fixture(scope="module")
def keys(folder: Path) -> Path:
    path = folder / "keys.toml"
    path.write_text("".join(entry(*item) for item in ENTRIES.items()))
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def url(folder: Path, keys: Path) -> Iterator[str]:
    batches = f"--batch-dir={folder / 'batches'}"
    with running_server(*SERVER, batches, f"--api-keys={keys}", log=folder / "log") as base:
        yield base


@pytest.fixture
def clients(url: str) -> Iterator[dict[str, OpenAI]]:
    """By the key that they send; "nobody" is no key's name."""
    made = {
        name: OpenAI(base_url=f"{url}/v1", api_key=name, max_retries=0)
        for name in (*ENTRIES, "nobody")
    }
    yield made
    for client in made.values():
        client.close()


def data_url(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def ask(client: OpenAI, content: Any = "Hello", **options: Any) -> Any:
    options = {"max_tokens": 2, **options}
    messages: Any = [{"role": "user", "content": content}]
    return client.chat.completions.create(model="octavo-demo", messages=messages, **options)


def log_lines(folder: Path, logger: str) -> list[str]:
    """What a logger said so far."""
    whole = (folder / "log").read_text().rpartition("\n")[0]
    lines = [json.loads(line) for line in whole.splitlines()]
    return [line["message"] for line in lines if line["logger"].endswith(logger)]


def test_only_who_has_a_key_is_answered(url: str, clients: dict[str, OpenAI]) -> None:
    assert ask(clients["alice"]).choices[0].finish_reason == "length"
    assert clients["bob"].models.list().data[0].id == "octavo-demo"
    with pytest.raises(AuthenticationError) as raised:
        ask(clients["nobody"])
    assert raised.value.code == "invalid_api_key"
    assert raised.value.response.headers["www-authenticate"] == "Bearer"
    assert raised.value.request_id is not None
    for headers in ({}, {"Authorization": "Basic alice"}, {"Authorization": "Bearer"}):
        answer = httpx.get(f"{url}/v1/models", headers=headers)
        assert answer.status_code == 401
        assert "no API key was sent" in answer.json()["error"]["message"]
    assert httpx.get(f"{url}/v1/models", headers={"Authorization": "bearer bob"}).is_success


def test_probes_need_no_key_and_metrics_an_admins(url: str, clients: dict[str, OpenAI]) -> None:
    for path in ("", "health", "health/live", "health/ready", "ping"):
        assert httpx.get(f"{url}/{path}").is_success
    for path in ("metrics", "version", "docs", "openapi.json"):
        assert httpx.get(f"{url}/{path}").status_code == 401
    with pytest.raises(PermissionDeniedError, match="admin = true"):
        clients["alice"].get("../metrics", cast_to=httpx.Response)
    headers = {"Authorization": "Bearer operator"}
    assert "octavo:http_requests_total" in httpx.get(f"{url}/metrics", headers=headers).text


def test_other_apis_have_keys_in_their_ways(url: str) -> None:
    def client(key: str) -> anthropic.Anthropic:
        return anthropic.Anthropic(base_url=url, api_key=key, max_retries=0)

    asked: Any = {"model": "octavo-demo", "messages": [{"role": "user", "content": "Hello"}]}
    with client("alice") as alice:
        assert alice.messages.create(**asked, max_tokens=2).usage.output_tokens == 2
    with client("nobody") as nobody, pytest.raises(anthropic.AuthenticationError) as unknown:
        nobody.messages.create(**asked, max_tokens=2)
    assert unknown.value.body["error"]["type"] == "authentication_error"  # type: ignore[index,call-overload]
    with client("few") as few, pytest.raises(anthropic.RateLimitError) as limited:
        few.messages.create(**asked, max_tokens=501)
    assert limited.value.body["error"]["type"] == "rate_limit_error"  # type: ignore[index,call-overload]
    common = {"model": "octavo-demo", "options": {"num_predict": 501}, "stream": False}
    raw = {"prompt": "Hello", "raw": True}
    for path, fields in (("chat", {"messages": asked["messages"]}), ("generate", raw)):
        body = {**common, **fields}
        headers = {"Authorization": "Bearer few"}
        answer = httpx.post(f"{url}/api/{path}", json=body, headers=headers)
        assert answer.status_code == 429
        assert "lower max_tokens" in answer.json()["error"]


def test_the_document_says_how_keys_are_sent(url: str) -> None:
    document = httpx.get(f"{url}/openapi.json", headers={"X-Api-Key": "bob"}).json()
    OpenAPIV31SpecValidator(document).validate()
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert {"bearer": []} in document["security"]
    for path, operations in document["paths"].items():
        is_free = httpx.get(f"{url}{path}").status_code != 401
        for method, operation in operations.items():
            assert (operation.get("security") == []) is is_free
            assert ("401" in operation["responses"]) is not is_free
            assert is_free or method != "post" or "429" in operation["responses"]
            assert ("403" in operation["responses"]) is (path == "/metrics")


def test_what_one_key_asked_is_not_in_the_caches_of_another(clients: dict[str, OpenAI]) -> None:
    """Nor is a salt of one's own a way to another's."""
    text = "How long does it take to bake a loaf of bread? " * 4

    def cached(name: str, **fields: Any) -> int:
        usage = ask(clients[name], text, extra_body=fields).usage
        count: int = usage.prompt_tokens_details.cached_tokens
        return count

    assert cached("alice") == 0
    for salt in ("", "alice", "5:alice"):
        assert cached("bob", cache_salt=salt) == 0
    assert cached("alice") > 0
    assert cached("bob") > 0
    assert cached("alice", cache_salt="mine") == 0
    assert cached("alice", cache_salt="mine") > 0


def test_pictures_of_one_key_are_not_in_the_caches_of_another(clients: dict[str, OpenAI]) -> None:
    url = data_url(Image.new("RGB", (64, 64), "green"))

    def source(name: str, **named: Any) -> str:
        picture = {"type": "image_url", "image_url": {"url": url}, **named}
        answer = ask(clients[name], [picture], extra_body={"include_timings": True})
        (image,) = answer.timings["images"]
        found: str = image["source"]
        return found

    assert [source(name) for name in ("alice", "bob", "alice")] == ["encoded", "encoded", "engine"]
    assert source("alice", uuid="green") == "engine"
    known = {"type": "image_url", "image_url": None, "uuid": "green"}
    assert ask(clients["alice"], [known]).usage.completion_tokens > 0
    with pytest.raises(BadRequestError) as raised:
        ask(clients["bob"], [known])
    assert raised.value.code == "image_not_cached"


def test_a_response_is_kept_for_its_key_alone(clients: dict[str, OpenAI]) -> None:
    kept = clients["alice"].responses.create(
        model="octavo-demo", input="Hello", max_output_tokens=16, store=True
    )
    with pytest.raises(NotFoundError):
        clients["bob"].responses.retrieve(kept.id)
    with pytest.raises(NotFoundError):
        clients["bob"].responses.create(
            model="octavo-demo", input="And?", max_output_tokens=16, previous_response_id=kept.id
        )
    assert clients["alice"].responses.retrieve(kept.id).id == kept.id


def test_a_key_has_so_many_requests_a_minute(clients: dict[str, OpenAI]) -> None:
    messages: Any = [{"role": "user", "content": "Hello"}]
    answer = clients["one"].chat.completions.with_raw_response.create(
        model="octavo-demo", messages=messages, max_tokens=2
    )
    assert answer.headers["x-ratelimit-limit-requests"] == "1"
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    assert answer.headers["x-ratelimit-reset-requests"].endswith("s")
    with pytest.raises(RateLimitError) as raised:
        ask(clients["one"])
    assert (raised.value.code, raised.value.type) == ("rate_limit_exceeded", "requests")
    assert 0 < int(raised.value.response.headers["retry-after"]) <= 60
    assert "x-ratelimit-reset-requests" in raised.value.response.headers
    clients["one"].models.list()
    ask(clients["alice"])


def test_a_key_has_so_many_tokens_and_pixels_a_minute(clients: dict[str, OpenAI]) -> None:
    # Nothing is fetched: the address would be refused with 400.
    picture = {"type": "image_url", "image_url": {"url": "http://example.invalid/a.png"}}
    for content in ("Hello", [picture]):
        with pytest.raises(RateLimitError, match="lower max_tokens") as raised:
            ask(clients["few"], content, max_tokens=501)
        assert raised.value.response.headers["x-should-retry"] == "false"
    with pytest.raises(RateLimitError) as raised:
        clients["few"].completions.create(model="octavo-demo", prompt=["a"] * 9, max_tokens=60)
    assert raised.value.type == "tokens"
    assert ask(clients["few"], max_tokens=300).usage.completion_tokens < 300
    # Most of what was reserved is there again.
    ask(clients["few"], max_tokens=300)
    url = data_url(Image.new("RGB", (40, 40), "red"))
    picture = {"type": "image_url", "image_url": {"url": url}}
    with pytest.raises(RateLimitError, match="takes 1600, more than the 1000 pixels"):
        ask(clients["small"], [picture])


def test_a_key_has_so_many_requests_at_once(url: str, clients: dict[str, OpenAI]) -> None:
    address = httpx.URL(url)
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer single\r\n"
        "Content-Length: 100\r\n\r\n"
    )

    def is_refused() -> bool:
        try:
            ask(clients["single"])
        except RateLimitError as error:
            return error.type == "concurrent"
        return False

    with socket.create_connection((address.host, address.port)) as connection:
        connection.sendall(head.encode())
        wait_until(is_refused, 10)
    wait_until(lambda: not is_refused(), 10)


def test_what_was_refused_is_in_the_log_without_the_key(
    url: str, folder: Path, clients: dict[str, OpenAI]
) -> None:
    secret = "sk-very-secret"
    body = {"messages": [{"role": "user", "content": "a private question"}]}
    answer = httpx.post(
        f"{url}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {secret}"}
    )
    assert answer.status_code == 401

    def is_told() -> bool:
        return any(
            "POST /v1/chat/completions" in line and "401: unknown key" in line
            for line in log_lines(folder, "audit")
        )

    wait_until(is_told, 10)
    limited = [line for line in log_lines(folder, "audit") if "429: key one: of the 1" in line]
    assert len(limited) == 1
    written = (folder / "log").read_text()
    assert secret not in written
    assert "private question" not in written


def test_metrics_and_the_access_log_have_names_of_keys(
    url: str, folder: Path, clients: dict[str, OpenAI]
) -> None:
    def sample(name: str, **labels: str) -> float:
        text = httpx.get(f"{url}/metrics", headers={"Authorization": "Bearer operator"}).text
        return sum(
            found.value
            for family in text_string_to_metric_families(text)
            for found in family.samples
            if found.name == name and found.labels == labels
        )

    requests, tokens = "octavo:key_requests_total", "octavo:key_tokens_total"
    before = [sample(tokens, key="bob", kind=kind) for kind in ("prompt", "generation")]
    answered = sample(requests, key="bob", status="200")
    answer = ask(clients["bob"], max_tokens=3)
    used = [answer.usage.prompt_tokens, answer.usage.completion_tokens]
    after = [sample(tokens, key="bob", kind=kind) for kind in ("prompt", "generation")]
    assert [b - a for a, b in zip(before, after, strict=True)] == used
    assert sample(requests, key="bob", status="200") == answered + 1
    assert sample(requests, key="one", status="429") == 1
    with pytest.raises(AuthenticationError):
        clients["nobody"].models.list()
    assert sample(requests, key="none", status="401") > 0
    wanted = {"key": "bob", "logger": "uvicorn.access"}
    lines = (folder / "log").read_text().rpartition("\n")[0].splitlines()
    assert any(wanted.items() <= json.loads(line).items() for line in lines)


def line(number: int, content: str = "Hello", **fields: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": 2, **fields}
    return {"custom_id": str(number), "method": "POST", "url": CHAT, "body": body}


def begun(client: OpenAI, *lines: dict[str, Any]) -> Batch:
    data = "\n".join(map(json.dumps, lines)).encode()
    file = client.files.create(file=("in.jsonl", data), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")


def ended(client: OpenAI, batch: Batch) -> Batch:
    wait_until(lambda: client.batches.retrieve(batch.id).completed_at is not None, 60)
    return client.batches.retrieve(batch.id)


def results(client: OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id is not None
    return [json.loads(row) for row in client.files.content(file_id).text.splitlines()]


def test_a_batch_is_of_the_key_that_made_it(url: str, clients: dict[str, OpenAI]) -> None:
    alice, bob = clients["alice"], clients["bob"]
    text = "Which is the longest river of all that flow to the north? " * 4
    # One at a time, as the second is to find what the first has left.
    first = ended(alice, begun(alice, line(0, text)))
    (row,) = results(alice, first.output_file_id)
    assert row["response"]["body"]["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    assert not hasattr(first, "owner")

    def cached(client: OpenAI) -> int:
        count: int = ask(client, text).usage.prompt_tokens_details.cached_tokens
        return count

    assert cached(bob) == 0
    assert cached(alice) > 0
    for named in (bob.batches.retrieve, bob.batches.cancel):
        with pytest.raises(NotFoundError):
            named(first.id)
    for file_id in (first.input_file_id, first.output_file_id):
        assert file_id is not None
        for about in (bob.files.retrieve, bob.files.content, bob.files.delete):
            with pytest.raises(NotFoundError):
                about(file_id)
        with pytest.raises(NotFoundError):
            bob.files.list(after=file_id)
        with pytest.raises(NotFoundError):
            bob.batches.create(input_file_id=file_id, endpoint=CHAT, completion_window="24h")
    with pytest.raises(NotFoundError):
        bob.batches.list(after=first.id)
    assert (bob.batches.list().data, bob.files.list().data) == ([], [])
    assert [batch.id for batch in alice.batches.list().data] == [first.id]
    files = {file.id for file in alice.files.list().data}
    assert files == {first.input_file_id, first.output_file_id}


def test_a_line_that_takes_more_than_a_minute_allows_fails(clients: dict[str, OpenAI]) -> None:
    batch = ended(clients["few"], begun(clients["few"], line(0, max_tokens=501)))
    (row,) = results(clients["few"], batch.error_file_id)
    assert row["response"]["status_code"] == 429
    assert row["response"]["body"]["error"]["code"] == "rate_limit_exceeded"


def test_lines_wait_for_their_key_and_end_with_it(
    url: str, keys: Path, clients: dict[str, OpenAI]
) -> None:
    """Of three requests, the file and the batch are two. Nobody else waits for them."""
    slow, alice = clients["slow"], clients["alice"]
    batch = begun(slow, *map(line, range(30)))

    def num_answered() -> int:
        counts = slow.batches.retrieve(batch.id).request_counts
        assert counts is not None
        assert counts.failed == 0
        return counts.completed

    wait_until(lambda: num_answered() == 1, 30)
    other = ended(alice, begun(alice, *map(line, range(20))))
    assert len(results(alice, other.output_file_id)) == 20
    assert num_answered() < 10
    before = keys.read_text()
    keys.write_text(before.replace("[slow]", "[gone]"))
    headers = {"Authorization": "Bearer slow"}
    errors = f"file-{batch.id.removeprefix('batch_')}-errors"
    wait_until((keys.parent / "batches" / "files" / errors).exists, 60)
    keys.write_text(before)
    wait_until(
        lambda: httpx.get(f"{url}/v1/batches/{batch.id}", headers=headers).status_code == 200, 10
    )
    rows = results(slow, ended(slow, batch).error_file_id)
    assert len(rows) > 20
    error = rows[-1]["response"]["body"]["error"]
    assert (rows[-1]["response"]["status_code"], error["code"]) == (401, "invalid_api_key")
    assert "of the API key slow" in error["message"]


def test_keys_come_and_go_while_the_server_runs(
    url: str, keys: Path, clients: dict[str, OpenAI]
) -> None:
    before = keys.read_text()

    def status(key: str) -> int:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.get(f"{url}/v1/models", headers=headers).status_code

    assert (status("carol"), status("bob")) == (401, 200)
    keys.write_text(before.replace("[bob]", "[carol]").replace(*_hashes("bob", "carol")))
    wait_until(lambda: status("carol") == 200, 10)
    assert status("bob") == 401
    keys.write_text(before)
    wait_until(lambda: status("bob") == 200, 10)


def _hashes(*names: str) -> list[str]:
    return [hashlib.sha256(name.encode()).hexdigest() for name in names]
