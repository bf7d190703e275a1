"""InternVL 2.5 and 3, in the form that transformers has them."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, ModelSpec
from ....core.registry.hookspecs import hookimpl


@hookimpl
def octavo_register_models(register: Callable[[ModelSpec], None]) -> None:
    """Register the architecture."""
    register(
        ModelSpec(
            name="internvl",
            architectures=("InternVLForConditionalGeneration",),
            load=f"{__name__}.model:InternVLForConditionalGeneration",
            image_prompt=f"{__name__}.image_prompt:InternVLImagePrompt",
            preprocessor=f"{__name__}.preprocessor:InternVLPreprocessor",
            contract_version=CONTRACT_VERSION,
        )
    )
