"""CLIP's vision tower (Radford et al., 2021, arXiv:2103.00020)."""

from collections.abc import Callable

from ....core.contracts import EncoderSpec
from ....core.hookspecs import hookimpl


@hookimpl
def octavo_register_encoders(register: Callable[[EncoderSpec], None]) -> None:
    """Register the encoder."""
    register(
        EncoderSpec(
            name="clip",
            model_types=("clip_vision_model",),
            load=f"{__name__}.encoder:CLIPVisionEncoder",
            preprocessor=f"{__name__}.preprocessor:CLIPPreprocessor",
        )
    )
