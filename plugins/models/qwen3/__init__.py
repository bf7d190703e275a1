"""Qwen3, the dense models."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, ModelSpec
from ....core.registry.hookspecs import hookimpl


@hookimpl
def octavo_register_models(register: Callable[[ModelSpec], None]) -> None:
    """Register the architecture."""
    register(
        ModelSpec(
            name="qwen3",
            architectures=("Qwen3ForCausalLM",),
            model_types=("qwen3",),
            load=f"{__name__}.model:Qwen3ForCausalLM",
            contract_version=CONTRACT_VERSION,
        )
    )
