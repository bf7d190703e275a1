"""Pillow with our limits in place of its own, and its exceptions turned into MediaErrors."""

from __future__ import annotations

import ctypes
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache

from PIL import Image, UnidentifiedImageError, _imaging

from ..protocol.media_error import MediaError

#: What Pillow's plugins let out on damaged files: those of I/O and parsing, those that broken
#: values cause further on (a missing attribute, an assertion, a division by zero), and failures
#: of the C decoders. A readable file of an unknown kind is an UnidentifiedImageError, an OSError.
PILLOW_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

_lock = threading.Lock()
_users = 0
_restore = ExitStack()


@contextmanager
def guarded_pillow() -> Iterator[None]:
    """Raises MediaError for whatever Pillow raises inside."""
    with _own_limits():
        try:
            yield
        except MediaError:
            raise
        except UnidentifiedImageError as error:
            raise damaged(
                "it can't be read, or is of a kind that is not supported; save it again as PNG or "
                "JPEG"
            ) from error
        except PILLOW_ERRORS as error:
            # libheif's messages end in empty lines.
            reason = " ".join(str(error).split())
            raise damaged(reason or type(error).__name__) from error


@cache
def silence_libtiff() -> None:
    """Keep libtiff from printing a line for every row that it can't read. It reports the failure
    to Pillow as well, which has no switch for this."""
    libraries = ctypes.CDLL(_imaging.__file__)
    with suppress(AttributeError):  # a Pillow without libtiff, or with it linked in
        libraries.TIFFSetErrorHandler(None)


def damaged(reason: str) -> MediaError:
    """The error of a file that breaks its format's rules."""
    return MediaError(f"the image is truncated or damaged: {reason}")


@contextmanager
def _own_limits() -> Iterator[None]:
    """Without Pillow's pixel limit and warnings, which are switches of the whole process: the
    first of the threads inside sets them, the last restores them."""
    global _users
    with _lock:
        if not _users:
            _restore.enter_context(_switches())
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _restore.close()


@contextmanager
def _switches() -> Iterator[None]:
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit
