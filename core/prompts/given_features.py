"""Features that a caller has computed, held against what the model wants of them."""

from __future__ import annotations

from collections.abc import Sequence

from ..encoder_store.features import Features
from ..protocol.request_error import RequestError
from .image_views import ViewedImage


def check_features(images: Sequence[ViewedImage], hidden_size: int) -> None:
    """Raises RequestError for features of another shape than the prompt and the model want."""
    for viewed in images:
        features = viewed.image.content
        if isinstance(features, Features):
            wanted = viewed.token_ids.count(viewed.view.image_prompt.feature_token_id)
            _check_shape(features, (wanted, hidden_size), viewed.image.param)


def _check_shape(features: Features, wanted: tuple[int, int], param: str) -> None:
    if features.array.shape != wanted:
        raise RequestError(
            f"{param}: the features have shape {list(features.array.shape)}, the model takes "
            f"{list(wanted)} for an image of this size",
            param,
        )
