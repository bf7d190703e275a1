"""Gemma 3: pictures are resized to a square, and their patches averaged into fewer."""

from __future__ import annotations

from collections.abc import Sequence

from ....contracts.specs import JsonDict
from ..gguf_metadata import GgufMetadata
from .mmproj_file import MmprojFile
from .projector import Projector, SiglipSizes, Values, Weight, colours, siglip_weights

#: Patches a side that are averaged into one, where files don't say: as in all sizes of the family.
_POOLED = 4
_TOWER = "model.vision_tower.vision_model."
_PROJECTOR, _OUTPUT = "model.multi_modal_projector.", "mm.input_projection.weight"
_NORM = "mm.soft_emb_norm.weight"
_FACTOR = "vision.projector.scale_factor"
_BEGIN, _END, _FEATURE = "<start_of_image>", "<end_of_image>", "<image_soft_token>"
#: What stands for a feature in vocabularies that end before its own token: its embedding is never
#: read.
_UNUSED = "<unused0>"


def read(file: MmprojFile, text: GgufMetadata, text_config: JsonDict) -> Projector:
    """See `KINDS`."""
    sizes = SiglipSizes.read(file)
    pooled = file.size(_FACTOR, _POOLED)
    if sizes.patches % pooled:
        raise file.error(
            f"{sizes.patches} patches a side can't be averaged {pooled} by {pooled} "
            f"(clip.{_FACTOR})"
        )
    tokens = (sizes.patches // pooled) ** 2
    feature = _FEATURE if text.has_token(_FEATURE) else _UNUSED
    _, width = file.matrix(_OUTPUT)
    output, norm = "mm_input_projection_weight", "mm_soft_emb_norm.weight"
    return Projector(
        config={
            "model_type": "gemma3",
            "architectures": ["Gemma3ForConditionalGeneration"],
            "vision_config": {"model_type": "siglip_vision_model", **sizes.config},
            "mm_tokens_per_image": tokens,
            "boi_token_index": text.token_id(_BEGIN),
            "eoi_token_index": text.token_id(_END),
            "image_token_index": text.token_id(feature),
        },
        image_processor={
            **colours(file),
            "size": {"height": sizes.image, "width": sizes.image},
            "image_seq_length": tokens,
        },
        weights=[
            *siglip_weights(file, _TOWER, sizes),
            Weight(f"{_PROJECTOR}{output}", (_OUTPUT,), (sizes.width, width)),
            Weight(f"{_PROJECTOR}{norm}", (_NORM,), (sizes.width,), _less_one),
        ],
        prefix="model.language_model.",
        placeholder=_BEGIN,
        output=_OUTPUT,
        width=width,
    )


def _less_one(values: Sequence[Values]) -> Values:
    """Norms scale by the weight alone in these files, by one more in the model."""
    (weight,) = values
    return weight - 1
