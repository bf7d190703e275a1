"""Idefics3 and SmolVLM."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, ModelSpec
from ....core.registry.hookspecs import hookimpl


@hookimpl
def octavo_register_models(register: Callable[[ModelSpec], None]) -> None:
    """Register the architecture."""
    register(
        ModelSpec(
            name="idefics3",
            architectures=("Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration"),
            load=f"{__name__}.model:Idefics3ForConditionalGeneration",
            image_prompt=f"{__name__}.image_prompt:Idefics3ImagePrompt",
            preprocessor=f"{__name__}.preprocessor:Idefics3Preprocessor",
            contract_version=CONTRACT_VERSION,
        )
    )
