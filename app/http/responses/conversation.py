"""What a response goes on with, and what is kept of it."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import msgspec

from ....core.protocol.request_error import RequestError
from ...serving.response_store import MAX_AGE_S, ResponseStore, StoredResponse
from ..errors import HttpError
from .responses_request import ResponsesRequest

#: Of what a store holds, the part that one conversation may take.
_SHARE = 4


class Conversation(NamedTuple):
    """Items up to an answer, each after its name in errors. is_kept: whether the answer will be.
    owner: whose it is."""

    items: list[tuple[str, Any]]
    is_kept: bool
    owner: str

    def stored(self, response: dict[str, Any]) -> StoredResponse:
        """With its answer."""
        items = [item for _, item in self.items] + response["output"]
        return StoredResponse(msgspec.json.encode(response), msgspec.json.encode(items))


async def read_conversation(
    store: ResponseStore, body: ResponsesRequest, owner: str = ""
) -> Conversation:
    """What the request goes on with, and its input.

    Raises HttpError if that is not kept, and RequestError for no input, or for a conversation that
    is too large to be kept though it must be.
    """
    before = b"[]"
    previous = body.previous_response_id
    if previous is not None:
        stored = store.get(previous, owner)
        if stored is None:
            raise not_kept(previous, "previous_response_id")
        before = stored.items
    given = body.items()
    if not given:
        raise RequestError("input must be a text, or a list of at least one item", "input")

    def read() -> tuple[list[Any], int]:
        num_bytes = len(before) + sum(len(msgspec.json.encode(item)) for _, item in given)
        return msgspec.json.decode(before), num_bytes

    # Pictures make them large.
    earlier, num_bytes = await asyncio.to_thread(read)
    most = store.max_bytes // _SHARE
    if body.store and num_bytes > most:
        raise RequestError(
            f"store: the conversation has {num_bytes} bytes, more than the {most} that are kept; "
            "send store: false",
            "store",
        )
    items = [("previous_response_id", item) for item in earlier] + given
    return Conversation(items, body.store is not False and num_bytes <= most, owner)


def not_kept(response_id: str, param: str) -> HttpError:
    """The error that tells of a response which is not there."""
    return HttpError(
        404,
        f"no response {response_id[:100]!r} is kept here: responses are kept for "
        f"{MAX_AGE_S / 3600:.0f} hours at most, until newer ones take their room or the server is "
        "started again, and by the server that made them alone; send the whole conversation as "
        "input",
        param,
        "previous_response_not_found" if param == "previous_response_id" else None,
    )
