"""The bytes of a `data:` URL (RFC 2397), decoded in slices so that other threads get their turn."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

from ...protocol.media_error import MediaError

#: Characters decoded in one call, which takes a fraction of a millisecond.
_SLICE = 2**18
_MAX_HEADER = 1024
#: What URL encoders make of base64's own characters and of line breaks.
_ESCAPE = re.compile(rb"%(2[BbFf0]|3[Dd]|0[AaDd9])")
_WHITE_SPACE = b" \t\r\n"


def read_data_url(url: str, max_bytes: int) -> bytes:
    """The bytes of a base64 `data:` URL. Raises MediaError.

    Line breaks and other white space in the base64 are skipped, plain or percent-encoded, as are
    percent-encoded `+`, `/` and `=` understood. The size is judged by the length of the URL,
    before anything is decoded.
    """
    comma = url.find(",", 0, _MAX_HEADER)
    if url[:5].lower() != "data:" or comma < 0:
        raise MediaError("expected a data: URL such as data:image/png;base64,…")
    if "base64" not in (part.strip().lower() for part in url[5:comma].split(";")[1:]):
        raise MediaError("the data: URL must be base64-encoded (data:image/png;base64,…)")
    if len(url) - comma - 1 > -(-max_bytes // 3) * 4:
        raise _too_large((len(url) - comma - 1) * 3 // 4, max_bytes)
    try:
        data = b"".join(_decode(_clean_slices(url, comma + 1)))
    except ValueError as error:  # also binascii.Error and UnicodeEncodeError
        raise MediaError(f"the data: URL holds no valid base64: {_reason(error)}") from error
    if len(data) > max_bytes:
        raise _too_large(len(data), max_bytes)
    return data


def _clean_slices(url: str, position: int) -> Iterator[bytes]:
    """The base64 alone, in slices."""
    while position < len(url):
        end = position + _SLICE
        escape = url.find("%", end - 2, end)  # not to be cut in two
        end = escape if position < escape else end
        text = url[position:end].encode("ascii")
        if b"%" in text:
            text = _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()), text)
        yield text.translate(None, _WHITE_SPACE)
        position = end


def _decode(slices: Iterator[bytes]) -> Iterator[bytes]:
    """Groups of 4 characters -> 3 bytes; what is left of a slice goes with the next."""
    rest = b""
    for text in slices:
        if rest.endswith(b"="):
            raise ValueError("Excess data after padding")
        text = rest + text
        whole = max(len(text) - 1, 0) // 4 * 4  # the last group, which may be padded, waits
        if b"=" in text[:whole]:
            raise ValueError("Excess data after padding")
        yield binascii.a2b_base64(text[:whole], strict_mode=True)
        rest = text[whole:]
    yield binascii.a2b_base64(rest, strict_mode=True)


def _reason(error: ValueError) -> str:
    """Without the text itself, which may be long."""
    return "not ASCII" if isinstance(error, UnicodeEncodeError) else str(error)


def _too_large(size: int, max_bytes: int) -> MediaError:
    return MediaError(
        f"the image has about {size} bytes, more than the {max_bytes} allowed; send a smaller one"
    )
