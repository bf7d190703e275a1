"""What transformers' `get_image_features` gives, and whether all of it is served."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.utils.generic import ModelOutput

from ..protocol.config import ConfigError

_FEATURES = "pooler_output"
#: States on the way to the features, which no decoder sees.
_BY_PRODUCTS = {"last_hidden_state", "hidden_states", "attentions"}


def features_of(output: Any) -> Tensor:
    """[num_features, hidden_size] of all images, one after another.

    Raises ConfigError if there is more than features that are put in place of an image's tokens,
    such as what is added in later layers.
    """
    features = output
    if isinstance(output, ModelOutput):
        given = {name for name, value in output.items() if not _is_empty(value)}
        unserved = sorted(given - _BY_PRODUCTS - {_FEATURES})
        if unserved:
            raise ConfigError(
                f"its tower gives {', '.join(unserved)} beside the features of an image, which "
                "automatic deployment can't follow"
            )
        if _FEATURES not in given:
            raise ConfigError(f"its tower gives no {_FEATURES}, but {', '.join(sorted(given))}")
        features = output[_FEATURES]
    pieces = [features] if isinstance(features, Tensor) else features
    return torch.cat([piece.reshape(-1, piece.shape[-1]) for piece in pieces])


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, tuple | list) and not len(value))
