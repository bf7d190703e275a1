"""Digest of all that the features of an image depend on beside the image itself."""

from __future__ import annotations

import hashlib
import json

import torch
from torch import Tensor, nn

from ... import __version__
from ..contracts.interfaces import LANGUAGE_MODEL, LanguageModel
from ..contracts.specs import JsonDict


def encoder_digest(model: LanguageModel, config: JsonDict, dtype: torch.dtype, origin: str) -> str:
    """SHA-256, in hex, of the weights of the tower and the projector as they were loaded and
    quantised, of the config but for the text model's, and of the code's version.

    The weights are all that lie outside of a part named `language_model`, as in QuantMethod, and
    all of a model without such a part. origin: whose code the model is.
    """
    settings = {key: value for key, value in config.items() if key != "text_config"}
    head = [__version__, torch.__version__, origin, str(dtype), settings]
    digest = hashlib.sha256(json.dumps(head, sort_keys=True, default=str).encode())
    assert isinstance(model, nn.Module)
    for name, weight in sorted(model.state_dict().items()):
        if LANGUAGE_MODEL not in name.split(".") and isinstance(weight, Tensor):
            digest.update(f"{name}:{weight.dtype}:{list(weight.shape)}".encode())
            digest.update(_bytes_of(weight))
    return digest.hexdigest()


def _bytes_of(weight: Tensor) -> memoryview:
    flat = weight.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data
