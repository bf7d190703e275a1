"""How large a pool of image workers is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PoolSize:
    """num_workers: processes that decode; None is one for each processor. max_queued: images that
    may wait for them. timeout: seconds that one image may take."""

    num_workers: int | None = None
    max_queued: int = 256
    timeout: float = 30.0
