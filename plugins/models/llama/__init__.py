"""Llama, Mistral and the checkpoints that share their architecture, such as SmolLM."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, ModelSpec
from ....core.registry.hookspecs import hookimpl


@hookimpl
def octavo_register_models(register: Callable[[ModelSpec], None]) -> None:
    """Register the architecture."""
    register(
        ModelSpec(
            name="llama",
            architectures=("LlamaForCausalLM", "MistralForCausalLM"),
            model_types=("llama", "mistral"),
            load=f"{__name__}.model:LlamaForCausalLM",
            contract_version=CONTRACT_VERSION,
        )
    )
