"""Bodies that a hostile or a broken client might send: sizes, nesting, encodings, numbers and
parameters at their extremes."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..app.http.chat.chat_fields import CHAT_FIELDS


@dataclass(frozen=True)
class HostileBody:
    """kind: of what it is an example; headers: besides the length and type of the content."""

    kind: str
    content: bytes
    headers: dict[str, str]


def hostile_bodies(count: int, seed: int = 0) -> Iterator[HostileBody]:
    """So many of every kind in turn; the same for the same seed."""
    rng = random.Random(seed)
    for index in range(count):
        kind, make = _KINDS[index % len(_KINDS)]
        made = make(rng)
        content, headers = made if isinstance(made, tuple) else (made, {})
        yield HostileBody(kind, content, headers)


def _chat(content: Any = "Hi", **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], "max_tokens": 4, **fields}


def _written(body: Any) -> bytes:
    return json.dumps(body).encode()


def _long_text(rng: random.Random) -> bytes:
    unit = rng.choice(["a", "word ", "\u4f60", "\U0001f600", "\n", " ", "<|im_start|>", "<image>"])
    return _written(_chat(unit * int(10 ** rng.uniform(2, 6.5) / len(unit))))


def _many_things(rng: random.Random) -> bytes:
    count = int(10 ** rng.uniform(1, 4.5))
    text = {"type": "text", "text": "a"}
    message = {"role": "user", "content": "a"}
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    return _written(
        rng.choice(
            [
                _chat() | {"messages": [message] * count},
                _chat([text] * count),
                _chat(tools=[tool] * count),
                _chat(stop=["x"] * count),
                _chat(bad_words=["a b"] * count),
                _chat(stop_token_ids=list(range(count))),
                _chat(allowed_token_ids=list(range(count))),
                _chat(logit_bias={str(i): 100 for i in range(count)}),
                _chat(**{f"unknown_{i}": i for i in range(count)}),
                _chat(metadata={str(i): "x" for i in range(count)}),
            ]
        )
    )


def _nested(rng: random.Random) -> bytes:
    depth = int(10 ** rng.uniform(1, 5))
    opening, closing = rng.choice([(b"[", b"]"), (b'{"a":', b"}")])
    middle = b"1" if opening != b"[" else b""
    deep = opening * depth + middle + closing * rng.choice([depth, depth, depth - 1])
    place = rng.choice(
        [
            b"%s",
            b'{"messages": %s}',
            b'{"messages": [{"role": "user", "content": %s}]}',
            b'{"messages": [{"role": "user", "content": "a"}], "tools": [%s]}',
            b'{"messages": [{"role": "user", "content": "a"}], "metadata": %s}',
            b'{"messages": [{"role": "user", "content": "a"}], "chat_template_kwargs": {"a": %s}}',
            b'{"messages": [{"role": "assistant", "tool_calls": [{"type": "function", "function":'
            b' {"name": "f", "arguments": %s}}]}]}',
        ]
    )
    return place % deep


@cache
def _bomb() -> bytes:
    return gzip.compress(bytes(10**7))


def _encoded(rng: random.Random) -> tuple[bytes, dict[str, str]]:
    text = _written(_chat())
    noise = rng.randbytes(rng.randrange(1, 2000))
    return rng.choice(
        [
            (json.dumps(_chat("é"), ensure_ascii=False).encode("latin-1"), {}),
            (text.decode().encode("utf-16"), {}),
            (b"\xef\xbb\xbf" + text, {}),
            (text.replace(b"Hi", b"\\ud800"), {}),
            (text.replace(b"Hi", b"\\u0000\\u2028\\u202e"), {}),
            (text.replace(b"Hi", b"\xc0\xaf"), {}),
            (text.replace(b"Hi", b"\xed\xa0\x80"), {}),
            (text.replace(b"Hi", noise), {}),
            (text.replace(b"Hi", b"a\x00b"), {}),
            (text[: rng.randrange(len(text))], {}),
            (text + noise, {}),
            (text * 2, {}),
            (noise, {}),
            (b"", {}),
            (noise, {"Content-Encoding": "gzip"}),
            (_bomb() * rng.randrange(1, 10), {"Content-Encoding": "gzip"}),
            (gzip.compress(text)[:-6], {"Content-Encoding": "gzip"}),
            (text, {"Content-Encoding": "gzip, " * 50 + "gzip"}),
            (text, {"Content-Encoding": noise.hex()}),
            (text, {"Content-Type": "text/plain; charset=utf-7"}),
            (text, {"Content-Type": "multipart/form-data; boundary=" + "x" * 200}),
        ]
    )


#: As they stand in JSON, or would.
_NUMBERS = [
    "0", "-0.0", "-1", "1", "2", "0.5", "1e-320", "1e400", "-1e400", "NaN", "-Infinity", "1e308",
    "2147483648", "-2147483649", "9223372036854775808", "-9223372036854775809", "9" * 400,
    "9" * 5000, "1." + "0" * 5000, "0x10", "01", "+1", "1_000", "true", "null", '"1"', '""', "[]",
    "{}", "[1]", "[-1]", "[1e400]", '{"0": 1e400}', '{"-1": 1}', '{"x": null}', '["", ""]',
]  # fmt: skip
_FIELDS = sorted(
    {*CHAT_FIELDS.honoured.__struct_fields__, *CHAT_FIELDS.harmless, *CHAT_FIELDS.fixed}
    - {"messages"}
)


def _odd_number(rng: random.Random) -> bytes:
    field, value = rng.choice(_FIELDS), rng.choice(_NUMBERS)
    body = {name: value for name, value in _chat().items() if name != field}
    return _written(body)[:-1] + f', "{field}": {value}}}'.encode()


def _odd_parameters(rng: random.Random) -> bytes:
    large = rng.choice([0, 1, 20, 21, 127, 1000, 2**31 - 1, 2**63 - 1])
    everything: list[tuple[str, Any]] = [
        ("n", large),
        ("max_tokens", large),
        ("min_tokens", large),
        ("logprobs", True),
        ("top_logprobs", large),
        ("prompt_logprobs", large),
        ("temperature", rng.choice([0, 1e-30, 1e30, 2])),
        ("top_p", rng.choice([0, 1e-30, 1])),
        ("top_k", rng.choice([-1, 0, large])),
        ("min_p", rng.choice([0, 1])),
        ("repetition_penalty", rng.choice([1e-30, 1, 1e30])),
        ("presence_penalty", rng.choice([-2, 2, 1e30])),
        ("stop", rng.choice(["", " ", "\x00", "x" * 10**5, [""]])),
        ("bad_words", rng.choice([[""], ["x" * 10**5], ["\ud800"]])),
        ("logit_bias", {str(large): rng.choice([-100, 100, 1e30])}),
        ("allowed_token_ids", [large]),
        ("stop_token_ids", [large]),
        ("ignore_eos", True),
        ("use_beam_search", True),
        ("length_penalty", rng.choice([-1e30, 0, 1e30])),
        ("priority", rng.choice([-large, large])),
        ("timeout", rng.choice([0, 1e-30, 1e30])),
        ("queue_timeout", rng.choice([0, 1e-30, 1e30])),
        ("cache_salt", "x" * min(large, 10**6)),
        ("model", "x" * min(large, 10**6)),
        ("max_image_tokens", large),
        ("chat_template_kwargs", {"messages": [], "raise_exception": 1, "x" * 1000: "y"}),
        ("continue_final_message", True),
        ("stream", True),
        ("stream_options", {"include_usage": True}),
    ]
    return _written(_chat(**dict(rng.sample(everything, rng.randrange(1, 5)))))


def _odd_image(rng: random.Random) -> bytes:
    url = rng.choice(
        [
            "",
            "data:",
            "data:image/png;base64",
            "data:image/png;base64," + "A" * int(10 ** rng.uniform(0, 6.5)),
            "data:image/png;base64," + "\u00e9" * 100,
            "data:," + "%00" * 10**4,
            "http://169.254.169.254/",
            "http://[::1]:1/",
            "http://x" * 10**4,
            "file:///etc/passwd",
            "gopher://x",
            "http://\x00",
        ]
    )
    image = {"type": "image_url", "image_url": {"url": url}}
    text = {"type": "text", "text": "?"}
    return _written(_chat([image] * rng.choice([1, 1, 100]) + [text]))


def _odd_shape(rng: random.Random) -> bytes:
    odd: Any = rng.choice([None, True, 0, 1.5, "x", [], {}, [[]], [None], {"": {}}, {"type": "x"}])
    message = {"role": "user", "content": "a"}
    return _written(
        rng.choice(
            [
                odd,
                {"messages": odd},
                {"messages": [odd]},
                _chat(odd),
                _chat([odd]),
                _chat([{"type": "text", "text": odd}]),
                _chat([{"type": "image_url", "image_url": odd}]),
                _chat() | {"messages": [message | {"role": odd}]},
                _chat() | {"messages": [message | {"name": odd}]},
                _chat() | {"messages": [message, {"role": "assistant", "tool_calls": odd}]},
                _chat() | {"messages": [message, {"role": "tool", "tool_call_id": odd}]},
                _chat(tools=odd),
                _chat(tools=[odd]),
                _chat(chat_template_kwargs=odd),
                _chat(stream_options=odd, stream=True),
            ]
        )
    )


_KINDS: list[tuple[str, Callable[[random.Random], bytes | tuple[bytes, dict[str, str]]]]] = [
    ("long text", _long_text),
    ("many things", _many_things),
    ("nesting", _nested),
    ("encoding", _encoded),
    ("number", _odd_number),
    ("parameters", _odd_parameters),
    ("image", _odd_image),
    ("shape", _odd_shape),
]
