"""Remembers which deployed models were found to answer as transformers, so that a model is
compared when it is loaded first, and not at every start."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import transformers

from ... import __version__
from ..deploy.deployment import Deployment
from ..system.cache_folder import cache_folder, forget_oldest, write_atomically

logger = logging.getLogger(__name__)

#: Of a large file these are read, where its tensors are named; a change of the rest shows in the
#: time of the file's last change.
_READ_OF_A_FILE = 1 << 20
_MOST_KEPT = 256
_PACKAGE = Path(__file__).parents[2]
_CODE = ("core", "kernels")


class Verdict:
    """What is known of one deployment: the lines that told of its agreement. Its name is a digest
    of the checkpoint's files, the device and dtype, the kernels, the passes, and the versions and
    code that would run. Only agreement is kept: what is refused is compared again.

    passes: what is done before the comparison.
    """

    def __init__(self, deployment: Deployment, passes: Sequence[str]) -> None:
        self._path = cache_folder("verdicts") / f"{_digest(deployment, passes)}.json"

    def read(self) -> list[str] | None:
        """None if nothing is known."""
        try:
            lines = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return [str(line) for line in lines] if isinstance(lines, list) and lines else None

    def write(self, lines: Sequence[str]) -> None:
        """Keep it, where the folder can be written to; else the next start compares again."""
        try:
            write_atomically(self._path, json.dumps(list(lines)))
            forget_oldest(self._path.parent, _MOST_KEPT)
        except OSError as error:
            logger.info("what was compared is not remembered: %s", error)


def _digest(deployment: Deployment, passes: Sequence[str]) -> str:
    versions = [__version__, torch.__version__, transformers.__version__]
    backends = sorted(deployment.kernels.backends.items())
    made_of = [versions, backends, str(deployment.device), str(deployment.dtype), list(passes)]
    digest = hashlib.sha256(json.dumps(made_of).encode())
    for line in (*_describe_files(deployment.checkpoint.path), *_describe_code()):
        digest.update(line)
    return digest.hexdigest()


def _describe_files(path: Path) -> Iterator[bytes]:
    """A checkpoint's folder, or its one file."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    for file in (file for file in files if file.is_file()):
        status = file.stat()
        yield f"{file.name}:{status.st_size}:".encode()
        if status.st_size > _READ_OF_A_FILE:
            yield f"{status.st_mtime_ns}:{file.resolve().name}:".encode()
        with file.open("rb") as opened:
            yield opened.read(_READ_OF_A_FILE)


def _describe_code() -> Iterator[bytes]:
    for folder in _CODE:
        for file in sorted((_PACKAGE / folder).rglob("*")):
            if file.suffix in (".py", ".cpp", ".h"):
                status = file.stat()
                yield f"{file.name}:{status.st_size}:{status.st_mtime_ns}".encode()
