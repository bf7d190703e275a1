"""The parts of an OpenAI-style message that are not text: images, by whatever they are named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.contracts import ImageSize
from ..core.engine.errors import RequestError
from ..core.engine.image_part import ImagePart
from ..core.engine.image_views import DETAILS

_MAX_UUID_LENGTH = 256


def read_part(part: Any, param: str, allow_local: bool) -> dict[str, str] | ImagePart:
    """A part of text as it is, or an image. allow_local: whether it may be a picture or a path.

    Raises RequestError.
    """
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if kind == "image" and allow_local:
        return ImagePart(f"{param}.image", picture=part.get("image"))
    if kind == "image_url":
        return _read_image_url(part, f"{param}.image_url")
    if kind == "image_embeds":
        return _read_features(part, f"{param}.image_embeds", allow_local)
    raise RequestError(
        f"{param} must be a part of type text (with text), image_url (with a url) or image_embeds",
        param,
    )


def _read_image_url(part: Mapping[str, Any], param: str) -> ImagePart:
    uuid = _read_uuid(part, param)
    value = part.get("image_url")
    if value is None and uuid is not None:
        return ImagePart(param, uuid=uuid)
    url = value.get("url") if isinstance(value, Mapping) else value
    detail = (value.get("detail") if isinstance(value, Mapping) else None) or "auto"
    if detail not in DETAILS:
        raise RequestError(f"{param}.detail must be one of {', '.join(DETAILS)}", f"{param}.detail")
    if not isinstance(url, str):
        raise RequestError(
            f"{param} must have a url, or be null beside the uuid of an image sent before", param
        )
    return ImagePart(param, url=url, detail=detail, uuid=uuid)


def _read_features(part: Mapping[str, Any], param: str, allow_local: bool) -> ImagePart:
    features = part.get("image_embeds")
    if features is None or (not allow_local and not isinstance(features, str)):
        raise RequestError(f"{param} must be a .npy or safetensors file in base64", param)
    return ImagePart(param, features=features, size=_read_size(part, param))


def _read_size(part: Mapping[str, Any], param: str) -> ImageSize | None:
    size = part.get("image_size")
    if size is None:
        return None
    fits = isinstance(size, list | tuple) and len(size) == 2
    if not fits or not all(type(side) is int and 0 < side < 2**20 for side in size):
        param = f"{param.rpartition('.')[0]}.image_size"
        raise RequestError(f"{param} must be [width, height] in pixels", param)
    return ImageSize(*size)


def _read_uuid(part: Mapping[str, Any], param: str) -> str | None:
    uuid = part.get("uuid")
    if uuid is None:
        return None
    if not isinstance(uuid, str) or not 0 < len(uuid) <= _MAX_UUID_LENGTH:
        param = f"{param.rpartition('.')[0]}.uuid"
        raise RequestError(
            f"{param} must be a text of at most {_MAX_UUID_LENGTH} characters", param
        )
    return uuid
