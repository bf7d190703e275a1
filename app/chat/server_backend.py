"""A server of the API of chat completions that answers."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import httpx

from ...core.protocol.config import ConfigError
from ...core.protocol.media_limits import MediaLimits
from ...core.protocol.setting import nearest
from .backend import ChatError, Piece
from .server_errors import message_of, refusal, unreachable
from .server_events import Delta, chunks

#: Seconds. A long prompt takes its time before the first word, which has no limit.
_TIMEOUT = httpx.Timeout(None, connect=10)
_INCOMPLETE = "; does the address lack something, such as /v1 at its end?"


class ServerBackend:
    """A `Backend`. model: by the server's name; None takes its only one.

    Raises ConfigError if the server can't be reached, or refuses to say what it serves.
    """

    def __init__(self, base_url: str, api_key: str | None, model: str | None) -> None:
        self.defaults: Mapping[str, Any] = {}
        self.limits = MediaLimits()
        self._names: list[str] = []
        self._url = base_url.rstrip("/")
        if not self._url.startswith(("http://", "https://")):
            raise ConfigError(f"--base-url: {base_url!r} must begin with http:// or https://")
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        with ExitStack() as unless_it_works:
            try:
                self._client = httpx.Client(headers=headers, timeout=_TIMEOUT)
                unless_it_works.enter_context(self._client)
                self.name = self._choose(model)
            except (ChatError, httpx.InvalidURL, UnicodeError) as error:
                raise ConfigError(f"--base-url: {error}") from error
            unless_it_works.pop_all()

    def answer(
        self, messages: Sequence[Mapping[str, Any]], sampling: Mapping[str, Any]
    ) -> Generator[Piece, None, None]:
        """As `Backend` has it."""
        body = {"model": self.name, "messages": messages, "stream": True, **sampling}
        ended = False
        try:
            with self._client.stream(
                "POST", f"{self._url}/chat/completions", json=body
            ) as response:
                if response.status_code != 200:
                    response.read()
                    raise self._refusal(response)
                for chunk in chunks(response.iter_lines()):
                    if chunk.error is not None:
                        raise ChatError(f"{self._url}: {message_of(chunk.error)}")
                    for choice in chunk.choices or ():
                        ended = ended or choice.finish_reason is not None
                        delta = choice.delta or Delta()
                        thought = delta.reasoning_content or ""
                        yield Piece(delta.content or "", choice.finish_reason, thought)
        except httpx.HTTPError as error:
            raise unreachable(self._url, error) from error
        except UnicodeEncodeError as error:
            raise ChatError(f"what is asked is no text: {error.reason}") from error
        if not ended:
            raise ChatError(f"{self._url} broke off; what came may be a part of the answer")

    def close(self) -> None:
        """As `Backend` has it."""
        self._client.close()

    def _choose(self, model: str | None) -> str:
        try:
            response = self._client.get(f"{self._url}/models")
        except httpx.HTTPError as error:
            raise unreachable(self._url, error) from error
        if response.status_code == 404 and model is not None:
            return model  # as servers with a single purpose do without a list
        if response.status_code != 200:
            raise refusal(self._url, response)
        self._names = _names(response)
        if model is None and len(self._names) != 1:
            listed = ", ".join(self._names) or "none"
            raise ChatError(f"name one of the models that {self._url} serves: {listed}")
        return model or self._names[0]

    def _refusal(self, response: httpx.Response) -> ChatError:
        if response.status_code != 404 or self.name in self._names or not self._names:
            return refusal(self._url, response)
        hint = nearest(self.name, self._names) or f"; it has: {', '.join(self._names)}"
        return ChatError(f"{self._url} serves no model {self.name}{hint}")


def _names(response: httpx.Response) -> list[str]:
    try:
        return [str(model["id"]) for model in response.json()["data"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ChatError(f"{response.url} gives no list of models{_INCOMPLETE}") from error
