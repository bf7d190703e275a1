"""Chooses which rasters the training pictures show."""

from collections import Counter

import torch
from compose import Rasters
from concepts import load_concepts
from torch import Tensor

PLAIN_SET_WEIGHT = 0.25
HELD_OUT_SHARE = 10
VALIDATION_VENDOR = "fxemoji"


def held_out(rasters: Rasters) -> Tensor:
    """Every tenth Openclipart picture, never trained on: for scores on unseen pictures."""
    count = 0
    mask = torch.zeros(len(rasters), dtype=torch.bool)
    for i, vendor in enumerate(rasters.vendors):
        if vendor == "openclipart":
            mask[i] = count % HELD_OUT_SHARE == 0
            count += 1
    return mask


def is_concept(rasters: Rasters) -> Tensor:
    """Which rasters show one of the concepts."""
    names = {c.name for c in load_concepts()}
    return torch.tensor([label in names for label in rasters.labels])


class Labels:
    """The concepts' names, and the index of each raster's name (-1 where it has none)."""

    def __init__(self, rasters: Rasters) -> None:
        self.names = [concept.name for concept in load_concepts()]
        index = {name: i for i, name in enumerate(self.names)}
        self.targets = torch.tensor([index.get(label, -1) for label in rasters.labels])


def of_validation_vendor(rasters: Rasters) -> Tensor:
    """The rasters of the vendor that is kept for validation."""
    return torch.tensor([vendor == VALIDATION_VENDOR for vendor in rasters.vendors])


def training_mask(rasters: Rasters) -> Tensor:
    """The rasters to train on."""
    return ~of_validation_vendor(rasters) & ~held_out(rasters)


def validation_mask(rasters: Rasters) -> Tensor:
    """The concepts that are drawn by the validation vendor."""
    return of_validation_vendor(rasters) & is_concept(rasters)


def weights(rasters: Rasters, allowed: Tensor, concept_share: float) -> Tensor:
    """How often each raster is drawn: concepts about equally often, the rest in a share."""
    concept = is_concept(rasters)
    counts = Counter(rasters.labels)
    weight = torch.tensor([counts[label] ** -0.7 for label in rasters.labels])
    weight = weight * torch.where(rasters.monochrome, PLAIN_SET_WEIGHT, 1.0) * allowed
    for mask, share in ((concept, concept_share), (~concept, 1 - concept_share)):
        weight[mask] *= share / weight[mask].sum()
    return weight
