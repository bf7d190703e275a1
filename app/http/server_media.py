"""All that a server does with images before its engine sees them, as the operator set it."""

from __future__ import annotations

import asyncio

from ...core.engine.config import ConfigError, EngineConfig
from ...core.engine.media_loader import MediaLoader
from ...core.engine.media_metrics import MediaMetrics
from ...core.engine.store_tier import open_tier
from ...core.media.decode import decode_fingerprint
from ...core.media.fetch import MediaFetcher
from ...core.media.local_files import LocalFiles
from ...core.media_pool.image_reader import ImageReader
from ...core.media_pool.messages import WorkerSettings
from ...core.registry import Registry
from ..intake_config import IntakeConfig
from .image_intake import ImageIntake, IntakeLimits


class ServerMedia:
    """The pool, what reads images and what loads them, from `open` to `close`."""

    def __init__(self, reader: ImageReader, intake: ImageIntake, loader: MediaLoader) -> None:
        self._reader = reader
        self.intake = intake
        self.loader = loader

    @classmethod
    def open(
        cls, config: EngineConfig, sources: IntakeConfig, registry: Registry, metrics: MediaMetrics
    ) -> ServerMedia:
        """Start the pool, in the running event loop. Raises ConfigError."""
        fetcher = _open_fetcher(config, sources)
        tier = open_tier(config, registry, metrics.observe_store)
        settings = WorkerSettings(
            config.model, config.model_impl, config.media_limits, config.image_background
        )
        reader = ImageReader(settings, sources.pool, metrics.observe_stage)
        limits = IntakeLimits(
            config.max_images_per_prompt,
            config.max_image_bytes,
            decode_fingerprint(config.image_background),
        )
        local_files = LocalFiles(sources.allowed_local_media_path, config.max_image_bytes)
        intake = ImageIntake(reader, fetcher, local_files, limits, metrics)
        loader = MediaLoader(reader, tier, metrics)
        loader.start()
        return cls(reader, intake, loader)

    async def close(self) -> None:
        """End the processes, and let connections go."""
        self.loader.stop()
        await asyncio.to_thread(self._reader.stop)


def _open_fetcher(config: EngineConfig, sources: IntakeConfig) -> MediaFetcher:
    try:
        return MediaFetcher(
            sources.allowed_media_domains,
            max_bytes=config.max_image_bytes,
            timeout=sources.media_timeout,
            networks=sources.allowed_media_networks,
        )
    except ValueError as error:
        raise ConfigError(f"allowed_media_domains: {error}") from error
