"""What metadata.csv, .jsonl or .parquet says of a folder's pictures, as `datasets` reads them.

Source: "Create an image dataset" in the documentation of Hugging Face `datasets`, ImageFolder.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ....core.protocol.errors import RequestError
from ..picture import BrokenAt, FileAt, Picture, Skip
from .columns import plain
from .tables import Table, TableError, open_table

METADATA_NAMES = frozenset(("metadata.csv", "metadata.jsonl", "metadata.parquet"))
_FILE_NAME = "file_name"


class Metadata:
    """The rows of one such file, which are about files in its folder and in folders below that.
    They are kept in a database on the disk, as there may be a million."""

    def __init__(self, path: str, table: Table) -> None:
        self._path = path
        self._folder = os.path.dirname(path)
        self._table = table
        # SQLite removes it by itself. Whoever goes on with the listing may be another thread.
        self._rows = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._rows.execute("CREATE TABLE rows (file BLOB PRIMARY KEY, columns TEXT) WITHOUT ROWID")

    def load(self) -> Iterator[Picture | Skip]:
        """Read it; gives what is broken, and what is said twice."""
        self._rows.execute("BEGIN")
        try:
            for row in self._table.rows(_FILE_NAME):
                if row.error or not isinstance(row.cell, str) or not row.cell:
                    reason = row.error or f"its row has no {_FILE_NAME}"
                    yield Picture(f"{self._path}#{row.index}", BrokenAt(reason), was_named=True)
                elif not self._insert(row.cell, row.columns):
                    yield Skip("listed twice", os.path.join(self._folder, row.cell))
        except TableError as error:
            yield Picture(self._path, BrokenAt(f"it can't be read: {error}"), was_named=True)
        self._rows.execute("COMMIT")

    def columns_of(self, path: str) -> Mapping[str, Any]:
        """Of a file in the folder, or below."""
        key = _key(os.path.relpath(path, self._folder or "."))
        found = self._rows.execute("SELECT columns FROM rows WHERE file = ?", (key,)).fetchone()
        columns: Mapping[str, Any] = json.loads(found[0]) if found else {}
        return columns

    def missing(self) -> Iterator[Picture]:
        """Files that it names but that don't exist, whose rows say so."""
        for (key,) in self._rows.execute("SELECT file FROM rows"):
            path = os.path.join(self._folder, os.fsdecode(key))
            if not os.path.lexists(path):
                yield Picture(path, FileAt(path), self.columns_of(path), was_named=True)

    def close(self) -> None:
        """Remove the database."""
        self._rows.close()

    def _insert(self, file_name: str, columns: Mapping[str, Any]) -> bool:
        text = json.dumps(plain(columns))
        sql = "INSERT OR IGNORE INTO rows VALUES (?, ?)"
        return self._rows.execute(sql, (_key(file_name), text)).rowcount == 1


def find_metadata(folder: str, names: Iterable[str]) -> Metadata | None:
    """The first of those of METADATA_NAMES that has a column file_name."""
    for name in sorted(names):
        path = os.path.join(folder, name)
        try:
            table = open_table(path)
        except (TableError, RequestError):
            continue
        if _FILE_NAME in table.names:
            return Metadata(path, table)
    return None


def _key(path: str) -> bytes:
    return os.fsencode(os.path.normpath(path))
