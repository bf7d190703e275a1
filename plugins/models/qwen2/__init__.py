"""Qwen2 and Qwen2.5, also as the text models of Qwen2-VL and Qwen2.5-VL."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, ModelSpec
from ....core.registry.hookspecs import hookimpl


@hookimpl
def octavo_register_models(register: Callable[[ModelSpec], None]) -> None:
    """Register the architecture."""
    register(
        ModelSpec(
            name="qwen2",
            architectures=("Qwen2ForCausalLM",),
            model_types=("qwen2", "qwen2_vl_text", "qwen2_5_vl_text"),
            load=f"{__name__}.model:Qwen2ForCausalLM",
            contract_version=CONTRACT_VERSION,
        )
    )
