"""The vision towers of Qwen2-VL and Qwen2.5-VL, for images of any size."""

from collections.abc import Callable

from ....core.contracts import EncoderSpec
from ....core.hookspecs import hookimpl


@hookimpl
def octavo_register_encoders(register: Callable[[EncoderSpec], None]) -> None:
    """Register both generations."""
    for name, model_type, encoder in (
        ("qwen2-vit", "qwen2_vl_vision", "Qwen2VisionEncoder"),
        ("qwen2.5-vit", "qwen2_5_vl_vision", "Qwen25VisionEncoder"),
    ):
        register(
            EncoderSpec(
                name=name,
                model_types=(model_type,),
                load=f"{__name__}.encoder:{encoder}",
                preprocessor=f"{__name__}.preprocessor:QwenPreprocessor",
            )
        )
