"""The passes in their order, from a checkpoint to a model that runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence

from ..deploy.deployed_model import DeployedModel
from ..deploy.deployed_vision_model import DeployedVisionModel
from ..deploy.deployment import Deployment, Pass
from ..deploy.passes.fuse_projections import FuseProjections
from ..deploy.passes.load import Load
from ..deploy.passes.pack_weights import PackWeights
from ..deploy.passes.paged_attention import PagedAttention
from ..deploy.passes.quantize import Quantize
from ..protocol.config import ConfigError
from .check import Check
from .verdicts import Verdict

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
    trust_verdicts: bool = True,
) -> DeployedModel:
    """Apply the passes and check that the model still answers as it did when it was loaded: a
    quantised one, before it is quantised.

    tell: takes a line for each pass. trust_verdicts: whether what was checked before on this
    machine is taken as it was. Raises ConfigError if the model can't be deployed.
    """
    name = deployment.checkpoint.name
    try:
        return _deploy(deployment, passes, tell, trust_verdicts)
    except ConfigError as error:
        if str(error).startswith(name):
            raise
        raise ConfigError(f"{name}: {error}") from error
    except Exception as error:  # models raise what they like
        raise ConfigError(
            f"{name}: automatic deployment failed, {type(error).__name__}: {error}"
        ) from error


def _deploy(
    deployment: Deployment,
    passes: Sequence[Pass],
    tell: Callable[[str], None],
    trust_verdicts: bool,
) -> DeployedModel:
    load, *changes = passes
    tell(f"{load.name}: {load.apply(deployment)}")
    same = [step for step in changes if step.preserves_greedy or deployment.quantizer is None]
    verdict = Verdict(deployment, [step.name for step in same])
    known = verdict.read() if trust_verdicts else None
    check = None if known else Check(deployment)
    for step in changes:
        if check is not None and step not in same:
            verdict.write(_compare(check, _wrap(deployment), tell))
            check = None
        tell(f"{step.name}: {step.apply(deployment)}")
    model = _wrap(deployment)
    if check is not None:
        verdict.write(_compare(check, model, tell))
    for line in known or ():
        tell(f"{line} (when it was first loaded)")
    return model


def _wrap(deployment: Deployment) -> DeployedModel:
    return (DeployedVisionModel if deployment.takes_images else DeployedModel)(deployment)


def _compare(check: Check, model: DeployedModel, tell: Callable[[str], None]) -> list[str]:
    lines = []
    for line in check.compare(model):
        tell(line)
        lines.append(line)
    return lines


def describe(deployment: Deployment, passes: Sequence[Pass], tell: Callable[[str], None]) -> None:
    """What the passes would do; deployment: one for a dry run. Raises ConfigError as `deploy`."""
    for step in passes:
        tell(f"{step.name}: {step.apply(deployment)}")
