"""SigLIP's vision tower (Zhai et al., 2023, arXiv:2303.15343)."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, EncoderExample, EncoderSpec
from ....core.registry.hookspecs import hookimpl

TINY = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}


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
                example=EncoderExample(
                    {"model_type": model_types[0], **TINY}, {"size": {"height": 32, "width": 32}}
                ),
                contract_version=CONTRACT_VERSION,
            )
        )
