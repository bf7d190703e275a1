"""Phi-3 and the checkpoints that share its architecture."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, ModelSpec
from ....core.registry.hookspecs import hookimpl


@hookimpl
def octavo_register_models(register: Callable[[ModelSpec], None]) -> None:
    """Register the architecture."""
    register(
        ModelSpec(
            name="phi3",
            architectures=("Phi3ForCausalLM",),
            model_types=("phi3",),
            load=f"{__name__}.model:Phi3ForCausalLM",
            contract_version=CONTRACT_VERSION,
        )
    )
