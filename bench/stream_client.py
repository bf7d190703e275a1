"""A client that streams chats from an OpenAI-style server and notes when each piece comes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpcore

from ..core.protocol.config import ConfigError
from .request_record import RequestRecord

_SHOWN_OF_ERROR = 300


class StreamClient:
    """start: the `time.perf_counter` that records count from; timeout: seconds for a request.

    Raises ConfigError if base_url is none. Opens as many connections as there are requests at
    once.
    """

    def __init__(self, base_url: str, timeout: float) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"--base-url: {base_url!r} is no address such as http://host:8000")
        self._base = base_url.rstrip("/").removesuffix("/v1")
        self._timeout = timeout
        self._pool = httpcore.AsyncConnectionPool(max_connections=None)
        self.start = time.perf_counter()

    async def first_model(self) -> str:
        """The name of the first model that the server has. Raises ConfigError if it tells none."""
        url = f"{self._base}/v1/models"
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._pool.request("GET", url)
            name: str = json.loads(answer.content)["data"][0]["id"]
        except (OSError, httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise ConfigError(f"no server answers at {url}: {error}") from error
        except (ValueError, LookupError, TypeError) as error:
            raise ConfigError(f"{url} tells of no model") from error
        return name

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    async def send(self, body: bytes, record: RequestRecord) -> None:
        """Ask, and note in `record` what comes; whatever goes wrong is its error."""
        record.sent = self._now()
        try:
            async with asyncio.timeout(self._timeout):
                finished = await self._stream(body, record)
            if not finished and not record.error:
                record.error = "the stream ended before the answer was complete"
        except TimeoutError:
            record.error = f"no complete answer within {self._timeout:g} s"
        except (OSError, httpcore.NetworkError, httpcore.ProtocolError) as error:
            record.error = f"{type(error).__name__}: {error}"
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            record.error = f"the server's answer can't be read: {error!r}"
        record.end = self._now()
        record.output_len = record.output_len or len(record.token_times)

    async def _stream(self, body: bytes, record: RequestRecord) -> bool:
        """Whether the answer is complete."""
        headers = [("Content-Type", "application/json"), ("Accept", "text/event-stream")]
        url = f"{self._base}/v1/chat/completions"
        async with self._pool.stream("POST", url, headers=headers, content=body) as answer:
            if answer.status != 200:
                content = (await answer.aread()).decode(errors="replace")
                record.error = f"status {answer.status}: {content[:_SHOWN_OF_ERROR]}"
                return False
            finished = False
            async for data in _events(answer.aiter_stream()):
                finished = self._note(json.loads(data), record) or finished
            return finished

    def _note(self, chunk: dict[str, Any], record: RequestRecord) -> bool:
        """Take in one event; whether it ends the answer."""
        if "error" in chunk:
            record.error = str(chunk["error"])[:_SHOWN_OF_ERROR]
            return False
        usage = chunk.get("usage")
        if usage:
            record.prompt_len = usage["prompt_tokens"]
            record.output_len = usage["completion_tokens"]
        ends = False
        for choice in chunk.get("choices", ()):
            text = choice["delta"].get("content")
            if text:
                record.token_times.append(self._now())
                record.text += text
            ends = ends or choice.get("finish_reason") is not None
        return ends

    def _now(self) -> float:
        return time.perf_counter() - self.start


async def _events(stream: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """The data of server-sent events, without the one that says it is done."""
    rest = b""
    async for part in stream:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                data = line.removeprefix(b"data:").strip().decode()
                if data != "[DONE]":
                    yield data
