"""Any tower of open_clip that cuts images into a grid, by its model's name there."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, EncoderExample, EncoderSpec
from ....core.registry.hookspecs import hookimpl


@hookimpl
def octavo_register_encoders(register: Callable[[EncoderSpec], None]) -> None:
    """Register the encoder. Its `vision_config` has `model_name`, or a `model_cfg` as in
    open_clip's own files."""
    tiny = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16}
    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    register(
        EncoderSpec(
            name="open_clip",
            model_types=("open_clip",),
            load=f"{__name__}.encoder:OpenClipEncoder",
            preprocessor=f"{__name__}.preprocessor:OpenClipPreprocessor",
            example=EncoderExample(
                {
                    "model_type": "open_clip",
                    "model_cfg": {"embed_dim": 16, "vision_cfg": tiny, "text_cfg": text},
                },
                {},
            ),
            contract_version=CONTRACT_VERSION,
        )
    )
