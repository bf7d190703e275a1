"""Refuses requests that could never run, however long they waited."""

from __future__ import annotations

from .request import Request


def check_runs(request: Request, max_num_batched_tokens: int) -> None:
    """Raises ValueError if tokens that see each other don't fit one step."""
    for start, end in request.bidirectional:
        if end - start > max_num_batched_tokens:
            raise ValueError(
                f"{end - start} tokens of the prompt see each other and must be computed in "
                f"one step, more than max_num_batched_tokens, {max_num_batched_tokens}"
            )


def check_features(request: Request, bytes_per_feature: int, capacity: int) -> None:
    """Raises ValueError if an image, or those that must be seen in one step, don't fit the
    encoder cache of so many bytes."""
    for start, end in request.bidirectional:
        keys = {span.media_key for span in request.spans_within(start, end)}
        needed = bytes_per_feature * sum(request.media[key].num_features for key in keys)
        if needed > capacity:
            raise ValueError(
                f"images that must be seen in one step need {needed} bytes for their "
                f"features, more than the encoder cache's {capacity}"
            )
    for media in request.media.values():
        needed = bytes_per_feature * media.num_features
        if needed > capacity:
            raise ValueError(
                f"an image of {media.num_features} features needs {needed} bytes for them, "
                f"more than the encoder cache's {capacity}"
            )
