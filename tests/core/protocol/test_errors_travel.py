"""An error that a process of a pool raises reaches its parent as it is."""

from __future__ import annotations

import pickle

import pytest
from octavo.core.protocol.errors import (
    EngineDeadError,
    ImageError,
    ImageNotCachedError,
    RequestError,
    RequestFailedError,
    RequestTimeoutError,
)
from octavo.core.protocol.media_error import MediaError


@pytest.mark.parametrize(
    "error",
    [
        RequestError("too long", "prompt"),
        RequestFailedError("no memory"),
        RequestTimeoutError("too slow", queued=True),
        EngineDeadError("it died", retry_after=3),
        MediaError("too large", "busy", retry_after=2),
        ImageError(MediaError("too large", "busy", retry_after=2), "prompts[1].image"),
        ImageNotCachedError("name", "messages[0]"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_pickled_whole(error: Exception) -> None:
    if isinstance(error, RequestError | RequestFailedError | RequestTimeoutError):
        error.index = 4
    read = pickle.loads(pickle.dumps(error))
    assert type(read) is type(error)
    assert str(read) == str(error)
    assert vars(read) == vars(error)
