"""Whether a file can become an output, without a loss of what is there."""

from __future__ import annotations

import os
import stat

from ....core.protocol.errors import RequestError
from ..picture import printable
from .output_options import OutputOptions
from .picture_format import is_picture_file


def check_destination(path: str, options: OutputOptions) -> None:
    """Raises RequestError if writing there would lose something, such as captions of another run,
    or isn't possible. Changes nothing."""
    check_folder(path)
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise RequestError(f"{printable(path)} can't be written: {error.strerror}") from error
    if stat.S_ISDIR(found.st_mode):
        raise RequestError(f"{printable(path)} is a folder: name a file in it")
    if not os.access(path, os.W_OK):
        raise RequestError(f"{printable(path)} can't be written: change its permissions")
    if not stat.S_ISREG(found.st_mode) or not found.st_size or options.goes_on:
        return
    if not options.overwrite:
        raise RequestError(would_be_overwritten(path, options))
    if os.access(path, os.R_OK) and is_picture_file(path):
        raise RequestError(f"{printable(path)} is a picture, which isn't overwritten")


def check_folder(path: str) -> None:
    """That of a file which is to be written. Raises RequestError."""
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise RequestError(
            f"{printable(path)} can't be written: there is no folder {printable(folder)}; make it, "
            "or name a file in another one"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RequestError(
            f"{printable(path)} can't be written: change the permissions of its folder"
        )


def would_be_overwritten(path: str, options: OutputOptions) -> str:
    """Says so, and what to do."""
    return (
        f"{printable(path)} exists and would be overwritten; replace it with --overwrite, add what "
        f"is missing in it with --only-missing, or name another file with {options.flag}"
    )
