"""CLIP's vision tower (Radford et al., 2021, arXiv:2103.00020)."""

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
    """Register the encoder."""
    register(
        EncoderSpec(
            name="clip",
            model_types=("clip_vision_model",),
            load=f"{__name__}.encoder:CLIPVisionEncoder",
            preprocessor=f"{__name__}.preprocessor:CLIPPreprocessor",
            example=EncoderExample(
                {"model_type": "clip_vision_model", **TINY},
                {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}},
            ),
            contract_version=CONTRACT_VERSION,
        )
    )
