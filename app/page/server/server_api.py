"""An Octavo server, as the page asks it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec

from ...chat.server_errors import message_of

#: Seconds. The first token of a long prompt takes its time.
_TIMEOUT = httpx.Timeout(None, connect=10)


class ServerError(Exception):
    """What a server refused, or why it can't be asked: a sentence for whoever looks at the page.
    status: of HTTP; None if there was no answer. param: the field at fault, if the server names
    one."""

    def __init__(self, message: str, status: int | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param


@dataclass(frozen=True)
class AnswerSoFar:
    """text: all there is of it. thoughts: what the model thinks before, if that is told apart.
    finish_reason, usage, timings: once they are known; see docs/api.md
    for what they hold."""

    text: str = ""
    finish_reason: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, Any] = field(default_factory=dict)
    thoughts: str = ""


class ServerApi:
    """base_url: without /v1. api_key: sent as a bearer token. through_proxies: whether those that
    the environment names are used. All methods raise ServerError."""

    def __init__(
        self, base_url: str, api_key: str | None = None, through_proxies: bool = True
    ) -> None:
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._client = httpx.AsyncClient(
            base_url=base_url.rstrip("/").removesuffix("/v1"),
            headers=headers,
            timeout=_TIMEOUT,
            trust_env=through_proxies,
        )
        self._tells_timings = True

    async def models(self) -> list[dict[str, Any]]:
        """As GET /v1/models describes them: `id`, `max_model_len` and more."""
        found: list[dict[str, Any]] = (await self._json("GET", "/v1/models"))["data"]
        return found

    async def model(self) -> str:
        """The name of the first."""
        found = await self.models()
        if not found:
            raise ServerError("the server has no model")
        return str(found[0]["id"])

    async def metrics(self) -> str:
        """In Prometheus' text format."""
        async with self._open("GET", "/metrics") as response:
            await response.aread()
            return response.text

    async def get(self, path: str) -> dict[str, Any]:
        """A JSON object, such as /health or /info."""
        found: dict[str, Any] = await self._json("GET", path)
        return found

    async def embed(self, inputs: Sequence[Any], model: str) -> list[list[float]]:
        """A vector for each text, or part of type text or image_url; of length 1."""
        body = {"model": model, "input": list(inputs)}
        data = (await self._json("POST", "/v1/embeddings", body))["data"]
        return [entry["embedding"] for entry in data]

    async def ask(
        self, messages: Sequence[Mapping[str, Any]], sampling: Mapping[str, Any]
    ) -> AsyncGenerator[AnswerSoFar]:
        """The answer as it grows, the last one with `finish_reason`, `usage` and `timings`. Closing
        the generator ends the request. sampling: further fields, `model` among them."""
        body = {
            "messages": list(messages),
            "stream": True,
            "stream_options": {"include_usage": True},
            **sampling,
        }
        if self._tells_timings:
            try:
                async with aclosing(self._answer({**body, "include_timings": True})) as answers:
                    async for answer in answers:
                        yield answer
                return
            except ServerError as error:
                if error.status not in (400, 422) or error.param != "include_timings":
                    raise
                self._tells_timings = False
        async with aclosing(self._answer(body)) as answers:
            async for answer in answers:
                yield answer

    async def _answer(self, body: Mapping[str, Any]) -> AsyncGenerator[AnswerSoFar]:
        text, thoughts, reason = "", "", None
        usage: Mapping[str, Any] = {}
        timings: Mapping[str, Any] = {}
        async with self._open("POST", "/v1/chat/completions", body) as response:
            async for chunk in _chunks(response):
                for choice in chunk.get("choices") or ():
                    text += choice["delta"].get("content") or ""
                    thoughts += choice["delta"].get("reasoning_content") or ""
                    reason = choice.get("finish_reason") or reason
                usage = chunk.get("usage") or usage
                timings = chunk.get("timings") or timings
                yield AnswerSoFar(text, reason, usage, timings, thoughts)
        if reason is None:
            raise ServerError("the server broke off; what came may be a part of the answer")

    async def close(self) -> None:
        """Let connections go."""
        await self._client.aclose()

    async def _json(self, method: str, path: str, body: Any = None) -> Any:
        async with self._open(method, path, body) as response:
            return msgspec.json.decode(await response.aread())

    @asynccontextmanager
    async def _open(
        self, method: str, path: str, body: Any = None
    ) -> AsyncIterator[httpx.Response]:
        """A response of status 200, to be read."""
        try:
            async with self._client.stream(method, path, json=body) as response:
                if response.status_code != 200:
                    await response.aread()
                    raise _refusal(response)
                yield response
        except httpx.ConnectError as error:
            raise ServerError("the server can't be reached; does it still run?") from error
        except httpx.HTTPError as error:
            raise ServerError(f"the connection broke: {error or type(error).__name__}") from error
        except msgspec.DecodeError as error:
            raise ServerError("what the server answered is no JSON") from error
        except UnicodeEncodeError as error:
            raise ServerError(f"what is asked is no text: {error.reason}") from error


def _refusal(response: httpx.Response) -> ServerError:
    """An error's message, as OpenAI's API words it."""
    message, param = "", None
    try:
        error = response.json().get("error")
        message = message_of(error)
        param = error.get("param")
    except (ValueError, AttributeError):
        pass
    status = response.status_code
    if status == 413:
        message = f"all together it is more than the server takes at once: {message}"
    return ServerError(message or f"the server answered with status {status}", status, param)


async def _chunks(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The events of a stream."""
    async for line in response.aiter_lines():
        name, _, value = line.partition(":")
        if name != "data" or value.strip() == "[DONE]":
            continue
        chunk: dict[str, Any] = msgspec.json.decode(value)
        if chunk.get("error"):
            raise ServerError(message_of(chunk["error"]) or "the server failed")
        yield chunk
