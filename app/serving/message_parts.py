"""The parts of an OpenAI-style message that are not text: images, by whatever they are named."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ...core.contracts.specs import ImageSize
from ...core.prompts.image_part import ImagePart
from ...core.prompts.image_views import DETAILS
from ...core.protocol.errors import RequestError

_MAX_UUID_LENGTH = 256
#: Of a field's name in a message.
_MAX_NAME = 64
#: The fields of each type of part beside its type; null is as good as none.
PART_FIELDS: dict[str, tuple[str, ...]] = {
    "text": ("text",),
    "image_url": ("image_url", "uuid"),
    "image_embeds": ("image_embeds", "image_size"),
    "image": ("image",),
}
#: Of any part: marks for caches of prompts, which find what is shared without them.
HARMLESS_PART_FIELDS = ("prompt_cache_breakpoint", "cache_control")
IMAGE_URL_FIELDS = ("url", "detail")


def read_part(part: Any, param: str, allow_local: bool) -> dict[str, str] | ImagePart:
    """A part of text as it is, or an image. allow_local: whether it may be a picture or a path.

    Raises RequestError.
    """
    kind = part.get("type") if isinstance(part, Mapping) else None
    if isinstance(kind, str) and kind in PART_FIELDS:
        refuse_unknown(part, ("type", *PART_FIELDS[kind], *HARMLESS_PART_FIELDS), param)
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


def refuse_unknown(given: Mapping[str, Any], known: Collection[str], param: str) -> None:
    """Raises RequestError that names a field of an object which would be ignored."""
    for name, value in given.items():
        if name not in known and value is not None:
            name = str(name)[:_MAX_NAME]
            raise RequestError(
                f"{param}.{name} is no field that is known here; known: {', '.join(known)}",
                f"{param}.{name}",
            )


def _read_image_url(part: Mapping[str, Any], param: str) -> ImagePart:
    uuid = _read_uuid(part, param)
    value = part.get("image_url")
    if value is None and uuid is not None:
        return ImagePart(param, uuid=uuid)
    if isinstance(value, Mapping):
        refuse_unknown(value, IMAGE_URL_FIELDS, param)
    url = value.get("url") if isinstance(value, Mapping) else value
    detail = (value.get("detail") if isinstance(value, Mapping) else None) or "auto"
    if detail not in DETAILS:
        raise RequestError(f"{param}.detail must be one of {', '.join(DETAILS)}", f"{param}.detail")
    if not isinstance(url, str):
        raise RequestError(
            f"{param} must have a url, or be null beside the uuid of an image sent before", param
        )
    return ImagePart(param, url=url.strip(), detail=detail, uuid=uuid)


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
    if not fits or not all(_is_length(side) for side in size):
        param = f"{param.rpartition('.')[0]}.image_size"
        raise RequestError(f"{param} must be [width, height] in pixels", param)
    return ImageSize(*map(int, size))


def _is_length(side: Any) -> bool:
    """A whole number, of pixels; 2.0 is one, too."""
    return type(side) in (int, float) and side == side // 1 and 0 < side < 2**20


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
