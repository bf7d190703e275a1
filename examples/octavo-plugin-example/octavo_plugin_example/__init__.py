"""What this package brings to Octavo. Nothing here imports torch, so that listing is quick."""

from octavo.core.contracts import EncoderExample, EncoderSpec, ModelSpec, QuantSpec
from octavo.core.hookspecs import hookimpl


@hookimpl
def octavo_register_models(register):
    register(
        ModelSpec(
            name="lite-vlm",
            architectures=("LiteVlmForConditionalGeneration",),
            load=f"{__name__}.model:LiteVlmForConditionalGeneration",
            image_prompt="octavo.core.contracts:RepeatedPlaceholder",
        )
    )


@hookimpl
def octavo_register_encoders(register):
    register(
        EncoderSpec(
            name="efficientnet-lite0",
            model_types=("efficientnet_lite0",),
            load=f"{__name__}.encoder:EfficientNetLite0",
            preprocessor=f"{__name__}.preprocessor:LitePreprocessor",
            example=EncoderExample({"image_size": 64}, {}),
            reference=f"{__name__}.reference:features",
        )
    )


@hookimpl
def octavo_register_quant(register):
    register(QuantSpec(name="int4-g32", load=f"{__name__}.quant:Int4Method"))
