"""Qwen2-VL and Qwen2.5-VL."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, ModelSpec
from ....core.registry.hookspecs import hookimpl


@hookimpl
def octavo_register_models(register: Callable[[ModelSpec], None]) -> None:
    """Register both generations, which differ in their towers."""
    register(
        ModelSpec(
            name="qwen2-vl",
            architectures=(
                "Qwen2VLForConditionalGeneration",
                "Qwen2_5_VLForConditionalGeneration",
            ),
            load=f"{__name__}.model:Qwen2VLForConditionalGeneration",
            image_prompt="octavo.core.contracts.specs:RepeatedPlaceholder",
            positions="mrope",
            contract_version=CONTRACT_VERSION,
        )
    )
