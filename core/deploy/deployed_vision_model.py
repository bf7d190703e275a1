"""A transformers model of images and texts behind Octavo's interface."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor

from .deployed_model import DeployedModel
from .deployment import Deployment
from .processor_images import EXTRAS
from .tower_output import features_of


class DeployedVisionModel(DeployedModel):
    """See `plugin.interfaces.MultiModalModel`. The tower runs as it is, image by image."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__(deployment)
        signature = inspect.signature(self._model.get_image_features)
        self._accepted = set(signature.parameters)

    def encode_images(
        self, images: Sequence[Tensor], layouts: Sequence[tuple[int, ...]]
    ) -> Sequence[Tensor]:
        """Pixels and layouts of a ProcessorPreprocessor -> for each [num_features, hidden_size]."""
        return [
            self._encode(pixels, layout) for pixels, layout in zip(images, layouts, strict=True)
        ]

    def _encode(self, pixels: Tensor, layout: tuple[int, ...]) -> Tensor:
        inputs = {"pixel_values": pixels, **_extras(layout, pixels.device)}
        given = {name: value for name, value in inputs.items() if name in self._accepted}
        return features_of(self._model.get_image_features(**given))


def _extras(layout: tuple[int, ...], device: torch.device) -> dict[str, Tensor]:
    """What a layout holds besides, as the processor gave it for one image."""
    found: dict[str, Tensor] = {}
    position = 0
    for name in EXTRAS:
        count = layout[position]
        numbers = layout[position + 1 : position + 1 + count]
        position += 1 + count
        if count:
            tensor = torch.tensor(numbers, device=device)
            found[name] = tensor if name == "batch_num_images" else tensor[None]
    return found
