"""InternVL's vision tower."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, EncoderExample, EncoderSpec
from ....core.registry.hookspecs import hookimpl


@hookimpl
def octavo_register_encoders(register: Callable[[EncoderSpec], None]) -> None:
    """Register the encoder."""
    register(
        EncoderSpec(
            name="internvit",
            model_types=("internvl_vision",),
            load=f"{__name__}.encoder:InternVisionEncoder",
            preprocessor=f"{__name__}.preprocessor:InternVisionPreprocessor",
            example=EncoderExample(
                {
                    "model_type": "internvl_vision",
                    "hidden_size": 32,
                    "intermediate_size": 64,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 2,
                    "image_size": [32, 32],
                    "patch_size": [8, 8],
                },
                {"size": {"height": 32, "width": 32}},
            ),
            contract_version=CONTRACT_VERSION,
        )
    )
