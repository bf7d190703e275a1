"""A digest of a checkpoint's weights, by which an output says what made it."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..system.cache_folder import cache_folder, forget_oldest, write_atomically
from .checkpoint import Checkpoint
from .unreadable import unreadable

logger = logging.getLogger(__name__)

_DIGEST_BYTES = 32
_DIGEST = re.compile(rf"[0-9a-f]{{{2 * _DIGEST_BYTES}}}")
#: What a thread hashes at once.
_PIECE = 64 << 20
_READ_BYTES = 1 << 20
_MOST_KEPT = 1024
#: Times of files are as coarse as this in some file systems: a younger one may be written again
#: and look the same.
_SETTLED_S = 2.0


def weights_digest(checkpoint: Checkpoint) -> str:
    """64 hex digits that change with any byte of the files that hold the weights, in order, and
    with nothing else: not with their names, folder or times.

    BLAKE2b (RFC 7693) of that of each file, and that of a file of those of its pieces of 64 MiB,
    which all processors hash. A file's is kept in ~/.cache/octavo/weights for as long as the file
    has the same path, size, time and inode. Raises ConfigError if there are no weights, or if they
    can't be read.
    """
    return _joined(_file_digest(path) for path in checkpoint.weight_paths())


def _file_digest(path: Path) -> str:
    kept = cache_folder("weights") / _stamp(path)
    try:
        digest = kept.read_text(encoding="ascii")
        if _DIGEST.fullmatch(digest):
            os.utime(kept)  # forgotten last
            return digest
    except (OSError, ValueError):
        pass  # not there, or damaged
    digest = _hash_file(path)
    if kept.name == _stamp(path) and path.stat().st_mtime < time.time() - _SETTLED_S:
        try:
            write_atomically(kept, digest)
            forget_oldest(kept.parent, _MOST_KEPT)
        except OSError as error:
            logger.debug("not kept for the next start: %s", error)
    return digest


def _stamp(path: Path) -> str:
    """A name for a file as it is."""
    try:
        status = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    facts = (os.fspath(path), status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino)
    return _hash(repr(facts).encode("utf-8", "surrogateescape")).hexdigest()


def _hash_file(path: Path) -> str:
    try:
        with path.open("rb") as file, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            descriptor = file.fileno()
            starts = range(0, os.fstat(descriptor).st_size, _PIECE)
            return _joined(pool.map(lambda start: _hash_piece(descriptor, start), starts))
    except OSError as error:
        raise unreadable(path, error) from error


def _hash_piece(descriptor: int, start: int) -> str:
    digest, buffer = _hash(), bytearray(_READ_BYTES)
    for position in range(start, start + _PIECE, _READ_BYTES):
        length = os.preadv(descriptor, [buffer], position)
        digest.update(memoryview(buffer)[:length])
    return digest.hexdigest()


def _joined(digests: Iterable[str]) -> str:
    whole = _hash()
    for digest in digests:
        whole.update(bytes.fromhex(digest))
    return whole.hexdigest()


def _hash(data: bytes = b"") -> hashlib.blake2b:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES)
