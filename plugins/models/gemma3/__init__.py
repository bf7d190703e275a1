"""Gemma 3 with its vision tower."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, ModelSpec
from ....core.registry.hookspecs import hookimpl


@hookimpl
def octavo_register_models(register: Callable[[ModelSpec], None]) -> None:
    """Register the architecture."""
    register(
        ModelSpec(
            name="gemma3",
            architectures=("Gemma3ForConditionalGeneration",),
            load=f"{__name__}.model:Gemma3ForConditionalGeneration",
            image_prompt=f"{__name__}.image_prompt:Gemma3ImagePrompt",
            preprocessor=f"{__name__}.preprocessor:Gemma3Preprocessor",
            image_attention="bidirectional",
            contract_version=CONTRACT_VERSION,
        )
    )
