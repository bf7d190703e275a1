"""Small pictures, and what is found in sources, for tests of captioning."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from octavo.app.captioning.picture import NotAPictureError, Picture, PictureError, Skip
from octavo.app.captioning.sources.find import find_pictures
from octavo.app.captioning.sources.options import SourceOptions
from octavo.app.captioning.sources.read import SourceReader
from octavo.core.protocol.media_limits import MediaLimits
from PIL import Image
from pillow_heif import register_heif_opener

register_heif_opener()  # so that Pillow writes it


def picture_file(number: int = 0, file_format: str = "PNG") -> bytes:
    """Of 2 x 2 pixels, whose colour the number tells."""
    file = io.BytesIO()
    Image.new("RGB", (2, 2), (number % 256, number // 256, 7)).save(file, file_format)
    return file.getvalue()


def find(sources: Sequence[Any], **options: Any) -> list[Picture | Skip]:
    """All at once."""
    return list(find_pictures([str(source) for source in sources], SourceOptions(**options)))


def pictures(found: Sequence[Picture | Skip]) -> list[Picture]:
    """Without what is skipped."""
    return [item for item in found if isinstance(item, Picture)]


def names(found: Sequence[Picture | Skip], without: Any = "") -> list[str]:
    """Of the pictures, without the folder that all are in."""
    start = f"{without}/" if without else ""
    return [picture.name.removeprefix(start) for picture in pictures(found)]


def skips(found: Sequence[Picture | Skip], without: Any = "") -> list[tuple[str, str]]:
    """Kind and name."""
    start = f"{without}/" if without else ""
    return [(item.kind, item.name.removeprefix(start)) for item in found if isinstance(item, Skip)]


def reading(picture: Picture, **limits: int) -> bytes | str:
    """The bytes, "skipped: kind" or "failed: reason"."""
    reader = SourceReader(MediaLimits(**limits))
    try:
        return reader.read(picture)
    except NotAPictureError as error:
        return f"skipped: {error.kind}"
    except PictureError as error:
        return f"failed: {error}"
    finally:
        reader.close()
