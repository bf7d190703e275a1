"""InternVL's vision tower."""

from collections.abc import Callable

from ....core.contracts import EncoderSpec
from ....core.hookspecs import hookimpl


@hookimpl
def octavo_register_encoders(register: Callable[[EncoderSpec], None]) -> None:
    """Register the encoder."""
    register(
        EncoderSpec(
            name="internvit",
            model_types=("internvl_vision",),
            load=f"{__name__}.encoder:InternVisionEncoder",
            preprocessor=f"{__name__}.preprocessor:InternVisionPreprocessor",
        )
    )
