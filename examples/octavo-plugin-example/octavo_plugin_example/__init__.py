"""What this package brings to Octavo. Nothing here imports torch, so that listing is quick."""

from octavo.plugin import EncoderExample, EncoderSpec, ModelSpec, QuantSpec, hookimpl

#: The version of the contract that this package is written for. An Octavo that speaks another
#: refuses the package by name, instead of failing in the midst of its code.
CONTRACT = 2


@hookimpl
def octavo_register_models(register):
    register(
        ModelSpec(
            name="lite-vlm",
            architectures=("LiteVlmForConditionalGeneration",),
            load=f"{__name__}.model:LiteVlmForConditionalGeneration",
            image_prompt="octavo.plugin:RepeatedPlaceholder",
            contract_version=CONTRACT,
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
            contract_version=CONTRACT,
        )
    )


@hookimpl
def octavo_register_quant(register):
    load = f"{__name__}.quant:Int4Method"
    register(QuantSpec(name="int4-g32", load=load, contract_version=CONTRACT))
