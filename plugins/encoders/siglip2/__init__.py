"""SigLIP 2 for images of any aspect; its checkpoints of one size are SigLIP's."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, EncoderExample, EncoderSpec
from ....core.registry.hookspecs import hookimpl


@hookimpl
def octavo_register_encoders(register: Callable[[EncoderSpec], None]) -> None:
    """Register the encoder."""
    register(
        EncoderSpec(
            name="siglip2",
            model_types=("siglip2_vision_model",),
            load=f"{__name__}.encoder:Siglip2VisionEncoder",
            preprocessor=f"{__name__}.preprocessor:Siglip2Preprocessor",
            example=EncoderExample(
                {
                    "model_type": "siglip2_vision_model",
                    "hidden_size": 32,
                    "intermediate_size": 64,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 2,
                    "patch_size": 8,
                    "num_patches": 16,
                },
                {"max_num_patches": 30},
            ),
            contract_version=CONTRACT_VERSION,
        )
    )
