"""Llama and the checkpoints that share its architecture."""

from collections.abc import Callable

from ....core.contracts import ModelSpec
from ....core.hookspecs import hookimpl


@hookimpl
def octavo_register_models(register: Callable[[ModelSpec], None]) -> None:
    """Register the architecture."""
    register(
        ModelSpec(
            name="llama",
            architectures=("LlamaForCausalLM",),
            model_types=("llama",),
            load=f"{__name__}.model:LlamaForCausalLM",
        )
    )
