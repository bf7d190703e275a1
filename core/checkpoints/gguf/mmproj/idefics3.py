"""Idefics3 and SmolVLM: pictures are cut into squares."""

from __future__ import annotations

from ....contracts.specs import JsonDict
from ..gguf_metadata import GgufMetadata
from .mmproj_file import MmprojFile
from .projector import Projector, SiglipSizes, Weight, colours, siglip_weights

#: How many squares the longest side has, where older files don't say: as many as in all models
#: that were released.
_SQUARES = 4
_TOWER, _OUTPUT = "model.vision_model.", "mm.model.fc.weight"
_FACTOR = "vision.projector.scale_factor"
_IMAGE = "<image>"
#: Others that its processor writes around squares.
_AROUND = ("<fake_token_around_image>", "<global-img>")


def read(file: MmprojFile, text: GgufMetadata, text_config: JsonDict) -> Projector:
    """See `KINDS`."""
    sizes = SiglipSizes.read(file)
    for token in _AROUND:
        text.token_id(token)
    factor = file.size(_FACTOR)
    if sizes.patches % factor:
        raise file.error(
            f"{sizes.patches} patches a side can't be joined {factor} by {factor} (clip.{_FACTOR})"
        )
    width, _ = file.matrix(_OUTPUT)
    connector = "model.connector.modality_projection.proj.weight"
    return Projector(
        config={
            "model_type": "idefics3",
            "architectures": ["Idefics3ForConditionalGeneration"],
            "vision_config": {"model_type": "idefics3_vision", **sizes.config},
            "scale_factor": factor,
            "image_token_id": text.token_id(_IMAGE),
        },
        image_processor={
            **colours(file),
            "size": {
                "longest_edge": file.size("vision.preproc_image_size", _SQUARES * sizes.image)
            },
            "max_image_size": {"longest_edge": sizes.image},
            "do_image_splitting": True,
        },
        weights=[
            *siglip_weights(file, _TOWER, sizes),
            Weight(connector, (_OUTPUT,), (width, sizes.width * factor**2)),
        ],
        prefix="model.text_model.",
        placeholder=_IMAGE,
        output=_OUTPUT,
        width=width,
    )
