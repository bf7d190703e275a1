"""An image as a request names it, before anything of it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..contracts.specs import ImageSize


@dataclass(frozen=True)
class ImagePart:
    """Exactly one of url, picture and features is given, or only a uuid.

    param: where it stands, such as "messages[0].content[1].image_url".
    url: data:, http(s): or file:.
    picture: a PIL image, a path or a file's bytes, of offline callers.
    features: base64 of a .npy or safetensors file, or an array of offline callers; size: of the
        image that they were computed from, if it matters.
    uuid: a name that the client gives to an image, to name it by later.
    """

    param: str
    url: str | None = None
    picture: Any = None
    features: Any = None
    size: ImageSize | None = None
    detail: str = "auto"
    uuid: str | None = None
