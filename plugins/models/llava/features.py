"""Selection of the tower's outputs, from LLaVA's config."""

from __future__ import annotations

from dataclasses import dataclass

from ....core.contracts.specs import JsonDict


@dataclass(frozen=True)
class FeatureSelection:
    """layers: as `vision_feature_layer`; skip_first: drop the class token before projecting."""

    layers: tuple[int, ...]
    skip_first: bool

    @classmethod
    def from_dict(cls, config: JsonDict) -> FeatureSelection:
        """Raises ValueError for an unknown `vision_feature_select_strategy`."""
        layers = config.get("vision_feature_layer", -2)
        strategy = config.get("vision_feature_select_strategy", "default")
        if strategy not in ("default", "full"):
            raise ValueError(
                f"vision_feature_select_strategy {strategy!r} is unknown; known: default, full"
            )
        return cls(
            layers=(layers,) if isinstance(layers, int) else tuple(layers),
            skip_first=strategy == "default",
        )
