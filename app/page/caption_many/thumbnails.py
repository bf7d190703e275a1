"""Small pictures beside captions, made here in bounded memory, so that a browser needn't load and
decode hundreds of photographs."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor

from ....core.media.decode_reduced import decode_reduced
from ....core.protocol.media_error import MediaError
from ....core.protocol.media_limits import MediaLimits
from ...captioning.picture import NotAPictureError, Picture, PictureError
from ...captioning.sources.read import SourceReader
from .album import Album, Entry
from .entries import LIMITS

_SIDE = 128
#: Pixels of pictures that are decoded for this: up to six bytes of memory each. Larger ones are
#: captioned without a small picture.
_MOST_PIXELS = 32_000_000
#: Seconds between looks at what has been made.
_PAUSE_S = 0.5
#: One picture at a time, for all visitors.
_turn = ThreadPoolExecutor(1, "thumbnails")


async def make_thumbnails(album: Album) -> AsyncGenerator[None]:
    """For pictures that have none yet, also such as come meanwhile; gives a turn now and then."""
    reader = SourceReader(LIMITS)
    loop = asyncio.get_running_loop()
    shown = loop.time()
    try:
        while entry := next((entry for entry in album.entries if entry.thumbnail is None), None):
            entry.thumbnail = ""  # another's turn may come meanwhile
            entry.thumbnail = await loop.run_in_executor(_turn, _thumbnail, reader, entry)
            if loop.time() - shown >= _PAUSE_S:
                yield
                shown = loop.time()
    finally:
        reader.close()


def _thumbnail(reader: SourceReader, entry: Entry) -> str:
    """A data: URL; "" if there can't be one, which is no one's concern: the server says what is
    wrong with a picture."""
    try:
        data = reader.read(Picture(entry.name, entry.at))
        limits = MediaLimits(max_pixels=_SIDE * _SIDE * 4, max_bytes=LIMITS.max_bytes)
        image = decode_reduced(data, limits, hard_limit=_MOST_PIXELS).image
    except (MediaError, PictureError, NotAPictureError):
        return ""
    image.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    image.save(file, "WEBP", quality=70)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
