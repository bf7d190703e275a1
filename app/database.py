"""A SQLite database of one process at a time, whose transactions outlast kills and power cuts."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

#: Why a file can't be used: another process has it; it is a database of something else or of
#: another version; it is none.
Fault = Literal["in use", "foreign", "damaged"]

_ERRNO = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_PERM: errno.EACCES,
}


@dataclass(frozen=True)
class Schema:
    """What a database holds. statements: that make its tables, each ended by a semicolon and a new
    line. application, version: numbers by which the file is known again."""

    statements: str
    application: int
    version: int


class Database:
    """Several threads may use it. Its transactions are on the disk when they return; it needs no
    more of a file system than locks and fsync, so that it works on network shares too.

    Raises OSError if it can't be written, and what `refusal` makes of a fault and of SQLite's words
    for it.
    """

    def __init__(
        self, path: str, schema: Schema, refusal: Callable[[Fault, str], Exception]
    ) -> None:
        """path: "" is a temporary file."""
        self._path = path
        self._schema = schema
        self._refusal = refusal
        self._lock = threading.RLock()
        with self._telling():
            self._connection = sqlite3.connect(
                path, timeout=0, isolation_level=None, check_same_thread=False
            )
            try:
                self._open()
            except BaseException:
                self._connection.close()
                raise

    def _open(self) -> None:
        run = self._connection.execute
        # One lock from here to the end, which also spares the shared memory of other modes.
        run("pragma locking_mode = exclusive")
        run("pragma journal_mode = delete")
        run("pragma synchronous = full")
        run("begin exclusive")
        (version,) = run("pragma user_version").fetchone()
        (application,) = run("pragma application_id").fetchone()
        schema = self._schema
        if (version, application) == (0, 0) and not run("select 1 from sqlite_master").fetchone():
            for statement in schema.statements.split(";\n"):
                run(statement)
            run(f"pragma user_version = {schema.version}")
            run(f"pragma application_id = {schema.application}")
        elif (version, application) != (schema.version, schema.application):
            raise self._refusal("foreign", f"version {version} of {application:#x}")
        run("commit")

    def close(self) -> None:
        """Let other processes have it."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and on the disk; within another one, a part of that."""
        with self._telling(), self._lock:
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("begin")
            try:
                yield
                self._connection.execute("commit")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # it may have been rolled back already
                    self._connection.execute("rollback")
                raise

    def run(self, statement: str, *values: Any) -> sqlite3.Cursor:
        """A statement that changes something, in the transaction that is open or in one of its
        own."""
        with self._telling(), self._lock:
            return self._connection.execute(statement, values)

    def one(self, query: str, *values: Any) -> Any:
        """The first row; None if there is none."""
        with self._telling(), self._lock:
            return self._connection.execute(query, values).fetchone()

    def all(self, query: str, *values: Any) -> list[Any]:
        """Every row."""
        with self._telling(), self._lock:
            return self._connection.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Errors of SQLite as others know them."""
        try:
            yield
        except sqlite3.OperationalError as error:
            code = error.sqlite_errorcode & 0xFF
            if code == sqlite3.SQLITE_BUSY:
                raise self._refusal("in use", str(error)) from error
            raise OSError(_ERRNO.get(code, errno.EIO), str(error), self._path) from error
        except sqlite3.DatabaseError as error:
            raise self._refusal("damaged", str(error)) from error
