"""The vision towers of Qwen2-VL and Qwen2.5-VL, for images of any size."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, EncoderExample, EncoderSpec
from ....core.registry.hookspecs import hookimpl

#: Fields of both generations; each reads its own.
TINY = {
    "depth": 2,
    "num_heads": 2,
    "patch_size": 4,
    "embed_dim": 32,
    "hidden_size": 32,
    "out_hidden_size": 48,
    "intermediate_size": 64,
    "window_size": 16,
    "fullatt_block_indexes": [1],
}


@hookimpl
def octavo_register_encoders(register: Callable[[EncoderSpec], None]) -> None:
    """Register both generations."""
    for name, model_type, encoder in (
        ("qwen2-vit", "qwen2_vl_vision", "Qwen2VisionEncoder"),
        ("qwen2.5-vit", "qwen2_5_vl_vision", "Qwen25VisionEncoder"),
    ):
        register(
            EncoderSpec(
                name=name,
                model_types=(model_type,),
                load=f"{__name__}.encoder:{encoder}",
                preprocessor=f"{__name__}.preprocessor:QwenPreprocessor",
                example=EncoderExample({"model_type": model_type, **TINY}, {"max_pixels": 64 * 64}),
                contract_version=CONTRACT_VERSION,
            )
        )
