"""SigLIP's vision tower (Zhai et al., 2023, arXiv:2303.15343)."""

from collections.abc import Callable

from ....core.contracts import EncoderSpec
from ....core.hookspecs import hookimpl


@hookimpl
def octavo_register_encoders(register: Callable[[EncoderSpec], None]) -> None:
    """Register it, and its variant for squares of any size."""
    for name, model_types, encoder in (
        ("siglip", ("siglip_vision_model",), "SiglipVisionEncoder"),
        ("siglip-fractional", ("idefics3_vision", "smolvlm_vision"), "FractionalSiglipEncoder"),
    ):
        register(
            EncoderSpec(
                name=name,
                model_types=model_types,
                load=f"{__name__}.encoder:{encoder}",
                preprocessor=f"{__name__}.preprocessor:SiglipPreprocessor",
            )
        )
