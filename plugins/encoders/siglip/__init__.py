"""SigLIP's vision tower (Zhai et al., 2023, arXiv:2303.15343)."""

from collections.abc import Callable

from ....core.contracts import EncoderSpec
from ....core.hookspecs import hookimpl


@hookimpl
def octavo_register_encoders(register: Callable[[EncoderSpec], None]) -> None:
    """Register the encoder."""
    register(
        EncoderSpec(
            name="siglip",
            model_types=("siglip_vision_model",),
            load=f"{__name__}.encoder:SiglipVisionEncoder",
            preprocessor=f"{__name__}.preprocessor:SiglipPreprocessor",
        )
    )
