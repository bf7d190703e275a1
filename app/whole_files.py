"""Files that are the old or the new one whenever a crash or a full disk ends their writer."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO


def write_whole(file: FileIO, data: bytes) -> None:
    """A full disk takes a part, and refuses the rest with OSError."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def replace_file(path: str, data: bytes) -> None:
    """Its content is the old or the new one at any time. Its folder is to be synchronised by the
    caller. Raises OSError with the file's name."""
    with replacing(path) as temporary, naming_file(path), FileIO(temporary, "w") as file:
        write_whole(file, data)
        os.fsync(file.fileno())


@contextmanager
def replacing(path: str) -> Iterator[str]:
    """The name of a new file, to be written and synchronised within, that takes the place of
    another; if that fails, it is gone. Raises OSError with the latter's name."""
    # Its name is short, as the other's may have as many bytes as a name can; hidden, so that no
    # source takes it for a picture; and the same each time, so that a crash leaves no second one.
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".octavo-{zlib.crc32(os.fsencode(name)):08x}.tmp")
    try:
        yield temporary
        with naming_file(path):
            with suppress(FileNotFoundError):
                os.chmod(temporary, os.stat(path).st_mode & 0o7777)
            os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def sync_folder(folder: str) -> None:
    """So that names in it outlast a power cut. The current one has no name."""
    # Some file systems, as of networks, can't; and a folder may be written that can't be read.
    with suppress(OSError):
        handle = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def naming_file(path: str) -> Iterator[None]:
    """Raises OSError with the file's name for one without it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), path) from error
