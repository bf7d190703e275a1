"""How requests are sent to a server."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..core.protocol.config import ConfigError


@dataclass(frozen=True, kw_only=True)
class LoadConfig:
    """Raises ConfigError for a value that can't work.

    request_rate: a second; infinity for all at once. burstiness: see `arrival_times`.
    max_concurrency: requests that are open at once; None for as many as arrive.
    request_timeout: seconds until a request that has been sent counts as failed.
    """

    request_rate: float = math.inf
    burstiness: float = 1.0
    max_concurrency: int | None = None
    num_warmups: int = 1
    request_timeout: float = 600.0

    def __post_init__(self) -> None:
        if self.max_concurrency is not None and self.max_concurrency < 1:
            raise ConfigError(f"max_concurrency must be at least 1, got {self.max_concurrency}")
        for name in ("request_rate", "burstiness", "request_timeout"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.num_warmups < 0:
            raise ConfigError(f"num_warmups must be at least 0, got {self.num_warmups}")
