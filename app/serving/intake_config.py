"""What an operator sets of a server's images."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from ...core.media_pool.pool_size import PoolSize


@dataclass(frozen=True)
class IntakeConfig:
    """Where images may come from, and the pool that reads them.

    allowed_media_domains: hosts that images are fetched from; none is no fetching.
    allowed_media_networks: networks of private addresses that are connected to all the same.
    allowed_local_media_path: the folder that file: URLs may name files in.
    media_timeout: seconds that fetching an image may take.
    """

    allowed_media_domains: tuple[str, ...] = ()
    allowed_media_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    allowed_local_media_path: Path | None = None
    media_timeout: float = 10.0
    pool: PoolSize = field(default_factory=PoolSize)
