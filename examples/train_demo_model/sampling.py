"""Chooses which rasters the training pictures show."""

from collections import Counter

import torch
from compose import Rasters
from concepts import load_concepts
from torch import Tensor

PLAIN_SET_WEIGHT = 0.35
HELD_OUT_SHARE = 10


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


def weights(rasters: Rasters, allowed: Tensor, concept_share: float) -> Tensor:
    """How often each raster is drawn: concepts about equally often, the rest in a share."""
    concept = is_concept(rasters)
    counts = Counter(rasters.labels)
    weight = torch.tensor([counts[label] ** -0.7 for label in rasters.labels])
    weight = weight * torch.where(rasters.monochrome, PLAIN_SET_WEIGHT, 1.0) * allowed
    for mask, share in ((concept, concept_share), (~concept, 1 - concept_share)):
        weight[mask] *= share / weight[mask].sum()
    return weight
