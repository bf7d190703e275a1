"""How two versions are compared, and what counts as slower."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.contracts.specs import load_object
from ...core.protocol.config import ConfigError

TEXT_METRICS = ("prefill", "decode", "batch")
METRICS = (*TEXT_METRICS, "image")
#: Of a made checkpoint, whose weights lie in no cache.
MEMORY_METRICS = ("decode_memory_bf16", "decode_memory_int8")
_MOST_PAIRS = 16


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Raises ConfigError for a value that can't work.

    pairs: of fresh processes, each of which gives one ratio a metric: what differs between two
        starts of the same code, as where memory lies, is noise, too.
    quads: of measurements in each pair, in the order base, new, new, base or the reverse, so that
        a drift of the machine cancels.
    startup: whether the time until the model is loaded is a metric.
    model: a folder or hub id to measure instead of the demo model and the made checkpoint.
    """

    pairs: int = 8
    quads: int = 3
    startup: bool = False
    model: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.pairs <= _MOST_PAIRS:
            raise ConfigError(f"pairs must be from 1 to {_MOST_PAIRS}, got {self.pairs}")
        if self.quads < 1:
            raise ConfigError(f"quads must be at least 1, got {self.quads}")

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is measured, in turn, once the model is loaded; of an image only where the model
        takes one."""
        if self.model is None:
            return (*METRICS, *MEMORY_METRICS)
        # Loaded here, as the command line is read without torch.
        find_checkpoint = load_object("octavo.core.checkpoints.find_checkpoint:find_checkpoint")
        takes_images = "vision_config" in find_checkpoint(self.model).config
        return METRICS if takes_images else TEXT_METRICS


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """min_effect: by what share of base's time new may be slower; alpha: the probability of
    finding any regression where no metric is slower than that. Raises ConfigError."""

    min_effect: float = 0.05
    alpha: float = 0.1

    def __post_init__(self) -> None:
        if not self.min_effect >= 0:
            raise ConfigError(f"min_effect must be at least 0, got {self.min_effect}")
        if not 0 < self.alpha < 1:
            raise ConfigError(f"alpha must be between 0 and 1, got {self.alpha}")
