"""All that a server does with images before its engine sees them, as the operator set it."""

from __future__ import annotations

from ...core.client.media_loader import MediaLoader
from ...core.encoder_store.open_tier import open_tier
from ...core.observe.media_metrics import MediaMetrics
from ...core.protocol.config import EngineConfig
from ...core.registry.registry import Registry
from .intake_config import IntakeConfig
from .server_images import ServerImages


class ServerMedia:
    """What reads images and what loads them, from `open` to `close`."""

    def __init__(self, images: ServerImages, loader: MediaLoader) -> None:
        self._images = images
        self.intake = images.intake
        self.loader = loader

    @classmethod
    def open(
        cls,
        config: EngineConfig,
        sources: IntakeConfig,
        registry: Registry,
        metrics: MediaMetrics,
        model: str | None,
    ) -> ServerMedia:
        """Start the pool, in the running event loop. model: see ServerImages.open. Raises
        ConfigError."""
        tier = open_tier(config, registry, metrics.observe_store)
        images = ServerImages.open(config, sources, metrics, model)
        loader = MediaLoader(images.reader, tier, metrics)
        loader.start()
        return cls(images, loader)

    async def wait_until_ready(self) -> None:
        """Wait until pictures can be read. Raises ConfigError if they can't be."""
        await self._images.reader.wait_until_ready()

    async def close(self) -> None:
        """End the processes, and let connections go."""
        self.loader.stop()
        await self._images.close()
