"""The pool that reads a server's images, and their intake, as the operator set them."""

from __future__ import annotations

import asyncio

from ...core.media.sources.fetch import MediaFetcher
from ...core.media.sources.local_files import LocalFiles
from ...core.media_pool.image_reader import ImageReader
from ...core.media_pool.jobs import WorkerSettings
from ...core.observe.media_metrics import MediaMetrics
from ...core.protocol.config import ConfigError, EngineConfig
from .image_identifier import ImageIdentifier
from .image_intake import ImageIntake
from .intake_config import IntakeConfig


class ServerImages:
    """From `open` to `close`."""

    def __init__(self, reader: ImageReader, intake: ImageIntake) -> None:
        self.reader = reader
        self.intake = intake

    @classmethod
    def open(
        cls,
        config: EngineConfig,
        sources: IntakeConfig,
        metrics: MediaMetrics,
        model: str | None,
    ) -> ServerImages:
        """Start the pool, in the running event loop. model: whose preprocessor it runs; None to
        decode only. Raises ConfigError."""
        fetcher = _open_fetcher(config, sources)
        settings = WorkerSettings(
            model,
            config.model_impl,
            config.media_limits,
            config.image_background,
            config.mmproj,
        )
        reader = ImageReader(
            settings, sources.pool, metrics.observe_stage, config.engine_stall_timeout
        )
        local_files = LocalFiles(sources.allowed_local_media_path, config.max_image_bytes)
        return cls(
            reader, ImageIntake(reader, fetcher, local_files, ImageIdentifier(config), metrics)
        )

    async def close(self) -> None:
        """End the processes."""
        await asyncio.to_thread(self.reader.stop)


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
