"""The LLaVA family: 1.5, NeXT and OneVision."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, ModelSpec
from ....core.registry.hookspecs import hookimpl


@hookimpl
def octavo_register_models(register: Callable[[ModelSpec], None]) -> None:
    """Register the architectures."""
    register(
        ModelSpec(
            name="llava",
            architectures=("LlavaForConditionalGeneration",),
            load=f"{__name__}.llava:LlavaForConditionalGeneration",
            image_prompt=f"{__name__}.image_prompt:LlavaImagePrompt",
            contract_version=CONTRACT_VERSION,
        )
    )
    for name, architecture, preprocessor in (
        ("llava-next", "LlavaNextForConditionalGeneration", "NextPreprocessor"),
        ("llava-onevision", "LlavaOnevisionForConditionalGeneration", "OneVisionPreprocessor"),
    ):
        register(
            ModelSpec(
                name=name,
                architectures=(architecture,),
                load=f"{__name__}.anyres_model:{architecture}",
                image_prompt="octavo.core.contracts.specs:RepeatedPlaceholder",
                preprocessor=f"{__name__}.anyres_preprocessor:{preprocessor}",
                contract_version=CONTRACT_VERSION,
            )
        )
