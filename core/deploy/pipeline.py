"""The passes in their order, from a checkpoint to a model that runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence

from ..engine.config import ConfigError
from .deployed_model import DeployedModel
from .deployed_vision_model import DeployedVisionModel
from .deployment import Deployment, Pass
from .passes.fuse_projections import FuseProjections
from .passes.load import Load
from .passes.pack_weights import PackWeights
from .passes.paged_attention import PagedAttention
from .passes.quantize import Quantize
from .verification import check_agreement

logger = logging.getLogger(__name__)

PASSES: tuple[Pass, ...] = (
    Load(),
    PagedAttention(),
    FuseProjections(),
    Quantize(),
    PackWeights(),
)


def choose_passes(skip: Collection[str] = ()) -> list[Pass]:
    """All passes but those named. Raises ConfigError for a name that is unknown or required."""
    optional = [step.name for step in PASSES if not step.required]
    refused = sorted(set(skip) - set(optional))
    if refused:
        known = ", ".join(optional) or "none"
        raise ConfigError(f"pass {refused[0]!r} can't be skipped; those that can be: {known}")
    return [step for step in PASSES if step.name not in skip]


def deploy(
    deployment: Deployment,
    passes: Sequence[Pass] = PASSES,
    tell: Callable[[str], None] = logger.info,
) -> DeployedModel:
    """Apply the passes and check that the model still answers as it did when it was loaded,
    unless it was quantised.

    tell: takes a line for each pass. Raises ConfigError if the model can't be deployed.
    """
    name = deployment.checkpoint.name
    try:
        for step in passes:
            tell(f"{step.name}: {step.apply(deployment)}")
        assert deployment.reference is not None
        model = (DeployedVisionModel if deployment.takes_images else DeployedModel)(deployment)
        agreement = deployment.reference.compare(model, deployment.dtype)
    except ConfigError:
        raise
    except Exception as error:  # models raise what they like
        raise ConfigError(
            f"{name}: automatic deployment failed, {type(error).__name__}: {error}"
        ) from error
    if deployment.quantizer is None:
        check_agreement(agreement, deployment.dtype, name)
    tell(f"check: {agreement.describe()}")
    return model


def describe(deployment: Deployment, passes: Sequence[Pass], tell: Callable[[str], None]) -> None:
    """What the passes would do; deployment: one for a dry run. Raises ConfigError as `deploy`."""
    for step in passes:
        tell(f"{step.name}: {step.apply(deployment)}")
