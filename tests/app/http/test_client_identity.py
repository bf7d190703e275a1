"""Who counts as one client: a key in a header, else an address, and nothing of it is told."""

from __future__ import annotations

from typing import Any

from octavo.app.http.client_identity import client_of
from starlette.requests import Request


def client(host: str | None = "10.0.0.1", **headers: str) -> str:
    given = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    address = None if host is None else (host, 4711)
    scope: dict[str, Any] = {"type": "http", "headers": given, "client": address}
    return client_of(Request(scope))


def test_a_key_is_one_client_from_wherever_it_comes() -> None:
    assert client("10.0.0.1", Authorization="Bearer a") == client("::1", Authorization="Bearer a")
    assert client(Authorization="Bearer a") != client(Authorization="Bearer b")


def test_anthropics_header_of_the_same_key_is_the_same_client() -> None:
    key = {"X-Api-Key": "a"}
    assert client(**key) == client("::1", **key) == client(Authorization="Bearer a")
    assert client(**key) != client(**{"X-Api-Key": "b"})
    assert client(Authorization="Bearer b", **key) == client(Authorization="Bearer b")


def test_without_one_an_address_is() -> None:
    assert client("10.0.0.1") == client("10.0.0.1")
    assert client("10.0.0.1") == client("10.0.0.1", Authorization="")
    assert len({client("10.0.0.1"), client("10.0.0.2"), client(None)}) == 3
    assert client("x") != client("y", Authorization="x")


def test_other_headers_are_no_identity() -> None:
    assert client("10.0.0.1", X_Forwarded_For="1.2.3.4") == client("10.0.0.1")


def test_the_key_is_not_in_the_name() -> None:
    name = client(Authorization="Bearer secret")
    assert len(name) == 16
    assert set(name) <= set("0123456789abcdef")
