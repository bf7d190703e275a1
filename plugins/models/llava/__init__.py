"""LLaVA 1.5 and the checkpoints that share its architecture."""

from collections.abc import Callable

from ....core.contracts import ModelSpec
from ....core.hookspecs import hookimpl


@hookimpl
def octavo_register_models(register: Callable[[ModelSpec], None]) -> None:
    """Register the architecture."""
    register(
        ModelSpec(
            name="llava",
            architectures=("LlavaForConditionalGeneration",),
            load=f"{__name__}.model:LlavaForConditionalGeneration",
            image_prompt=f"{__name__}.image_prompt:LlavaImagePrompt",
        )
    )
