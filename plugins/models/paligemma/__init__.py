"""PaliGemma and PaliGemma 2."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, ModelSpec
from ....core.registry.hookspecs import hookimpl


@hookimpl
def octavo_register_models(register: Callable[[ModelSpec], None]) -> None:
    """Register the architecture."""
    register(
        ModelSpec(
            name="paligemma",
            architectures=("PaliGemmaForConditionalGeneration",),
            load=f"{__name__}.model:PaliGemmaForConditionalGeneration",
            image_prompt=f"{__name__}.image_prompt:PaliGemmaImagePrompt",
            image_attention="prefix",
            contract_version=CONTRACT_VERSION,
        )
    )
