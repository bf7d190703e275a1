"""The folder of a server's batches: a database, and a folder of files beside it."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ...core.protocol.config import ConfigError
from ..database import Database, Fault, Schema
from . import batch_store, file_store, result_store
from .batch_store import Batch, BatchStore, Status
from .file_store import FileLimits, FileStore, StoredFile
from .result_store import Record, ResultStore

_SCHEMA = Schema(
    file_store.SCHEMA + batch_store.SCHEMA + result_store.SCHEMA,
    application=0x4F435442,
    version=2,
)
_DATABASE = "batches.sqlite"
_FILES = "files"


class FolderInUseError(ConfigError):
    """Another server has it."""


@dataclass(frozen=True)
class Storage:
    """What is kept. Its transactions are on the disk when they return."""

    files: FileStore
    batches: BatchStore
    results: ResultStore
    _database: Database

    @classmethod
    def open(cls, folder: Path, limits: FileLimits) -> Self:
        """Made if need be, for its owner alone. Raises FolderInUseError, ConfigError if it can't
        be used."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            database = Database(str(folder / _DATABASE), _SCHEMA, lambda *f: _refusal(folder, *f))
            try:
                return cls(
                    FileStore(database, folder / _FILES, limits),
                    BatchStore(database),
                    ResultStore(database),
                    database,
                )
            except BaseException:
                database.close()
                raise
        except OSError as error:
            message = f"--batch-dir: {folder} can't be used: {error.strerror or error}"
            raise ConfigError(message) from error

    def close(self) -> None:
        """Let other servers have the folder."""
        self._database.close()

    def keep(self, batch_id: str, records: Sequence[Record]) -> None:
        """What came of lines. Raises OSError if the disk is full, or files and answers are as many
        bytes as they may be (ENOSPC)."""
        most = self.files.limits.max_bytes
        if self.files.num_bytes + self.results.num_bytes >= most:
            message = f"files and answers of batches take the {most} bytes that they may"
            raise OSError(errno.ENOSPC, f"{message}; delete files")
        self.results.add(batch_id, records)

    def end(
        self,
        batch_id: str,
        of: tuple[Status, ...],
        outputs: tuple[StoredFile, ...],
        **changes: object,
    ) -> Batch | None:
        """A batch ends: with files that have been written, and without records."""
        with self._database.transaction():
            for stored in outputs:
                self.files.insert(stored)
            dropped = self.results.drop(batch_id)
            batch = self.batches.change(batch_id, of, **changes)
        self.results.num_bytes -= dropped
        return batch


def exists(folder: Path) -> bool:
    """Whether anything was ever kept there."""
    return (folder / _DATABASE).exists()


def default_folder(model_name: str) -> Path:
    """Where batches of a model are kept unless the operator says it; it need not exist yet."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "octavo" / "batches" / re.sub(r"[^\w.-]", "_", model_name)[:100]


def _refusal(folder: Path, fault: Fault, detail: str) -> ConfigError:
    if fault == "in use":
        return FolderInUseError(
            f"--batch-dir: {folder} is in use by another server; give each a folder of its own"
        )
    if fault == "foreign":
        return ConfigError(f"--batch-dir: {folder} holds batches of another version of octavo")
    return ConfigError(f"--batch-dir: the database in {folder} is damaged: {detail}")
