"""Automatic deployment in the terminal: the settings and why, then each pass and what it did."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.auto_deploy.pipeline import choose_passes, deploy, describe
from ...core.checkpoints.find_checkpoint import find_checkpoint
from ...core.deploy.deployment import Deployment
from ...core.deploy.settings import explain_settings
from ...core.deploy.transformers_spec import transformers_spec
from ...core.device.device import choose_device, choose_dtype, choose_kv_cache_dtype
from ...core.models.loader import choose_kernels
from ...core.protocol.config import EngineConfig
from ...core.quantization.quantizer import Quantizer
from ...core.quantization.weight_groups import table_rows
from ...core.registry.registry import get_registry
from ..table import print_table


def deploy_and_print(config: EngineConfig, skip: Sequence[str], dry_run: bool) -> None:
    """Deploy a model as the engine would, and tell what was done.

    Raises ConfigError or UnsupportedModelError if it can't be deployed.
    """
    checkpoint, registry = find_checkpoint(config.model, config.mmproj), get_registry()
    transformers_spec(checkpoint.config)
    device = choose_device(config.device)
    dtype = choose_dtype(config.dtype, checkpoint.dtype, device)
    kv_dtype = choose_kv_cache_dtype(config.kv_cache_dtype, config.dtype, checkpoint.dtype, dtype)
    kernels = choose_kernels(registry, device, dtype, kv_dtype)
    deployment = Deployment(checkpoint, device, dtype, kernels, dry_run)
    if config.quantization is not None:
        deployment.quantizer = Quantizer.choose(checkpoint, registry, config.quantization)
    passes = choose_passes(skip)
    for step in passes:
        print(f"{step.name}: {step.summary}")
    print("\nwould do" if dry_run else "\ndid")
    if dry_run:
        describe(deployment, passes, tell=print)
    else:
        deploy(deployment, passes, tell=print, trust_verdicts=False)
    if deployment.weights:
        print()
        print_table(table_rows(deployment.weights))
    _print_settings(config, deployment)


def _print_settings(config: EngineConfig, deployment: Deployment) -> None:
    weights = [*deployment.model.parameters(), *deployment.model.buffers()]
    assert deployment.kv_cache_spec is not None
    settings = explain_settings(
        config,
        deployment.checkpoint,
        deployment.dtype,
        deployment.kernels,
        deployment.kv_cache_spec,
        deployment.model.config.get_text_config(decoder=True).max_position_embeddings,
        sum(weight.numel() * weight.element_size() for weight in weights),
    )
    print()
    print_table([("setting", "value", "why"), *((s.name, s.value, s.why) for s in settings)])
