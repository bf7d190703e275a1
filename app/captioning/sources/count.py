"""About how many pictures there will be."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Iterable, Sequence

from ....core.protocol.errors import RequestError
from .formats import PICTURE_ENDINGS, ending
from .globs import Glob
from .hidden import is_hidden_name
from .lists import entries_of
from .options import SourceOptions
from .source_kinds import SourceKind, container_kind, kind_of, sidecar_stems
from .tables import TableError, open_table
from .tar_archives import num_members

#: Names that are looked at before other threads have the interpreter for a while.
_WITHOUT_PAUSE = 1000
_PAUSE_S = 0.002


def count_candidates(sources: Sequence[str], options: SourceOptions) -> int | None:
    """Files that by their endings may be pictures, rows and members: an estimate for whoever
    waits, in a thread of its own; what is listed twice counts twice. None if it can't be told
    without reading all, as of standard input and compressed tars."""
    total = 0
    stems = sidecar_stems(sources)
    for source in sources:
        number = _count(source, stems, options)
        if number is None:
            return None
        total += number
    return total


def _count(source: str, stems: frozenset[str], options: SourceOptions) -> int | None:
    try:
        kind = kind_of(source, stems)
        match kind:
            case SourceKind.STDIN:
                return None
            case SourceKind.FOLDER:
                return _in_folder(source, options)
            case SourceKind.GLOB:
                return _in_glob(Glob(source), options)
            case SourceKind.URL | SourceKind.PICTURE:
                return 1
            case SourceKind.SIDECAR:
                return 0
            case _:
                return _in_container(source, kind)
    except (OSError, RequestError, TableError):
        return 0


def _in_container(path: str, kind: SourceKind) -> int | None:
    if kind is SourceKind.TAR:
        return num_members(path)
    if kind is SourceKind.ZIP:
        try:
            with zipfile.ZipFile(path) as archive:
                return sum(map(_may_be_picture, archive.namelist()))
        except (zipfile.BadZipFile, ValueError):
            return 1
    if kind is SourceKind.LIST:
        with open(path, "rb") as file:
            return sum(1 for _ in entries_of(file, path))
    return open_table(path).count_rows()


def _in_glob(glob: Glob, options: SourceOptions) -> int | None:
    kind = container_kind(glob.tail)
    total = 0
    for match in glob.matches():
        if not isinstance(match, tuple):
            continue
        path, is_folder = match
        if is_folder:
            total += _in_folder(path, options)
        elif kind is None:
            total += _may_be_picture(path)
        elif (number := _in_container(path, kind)) is None:
            return None
        else:
            total += number
    return total


def _in_folder(top: str, options: SourceOptions) -> int:
    """Of links only those to files count."""
    total = 0
    todo = [top]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                total += _of_entries(entries, todo, options)
        except OSError:
            continue  # the listing says so
    return total


def _of_entries(
    entries: Iterable[os.DirEntry[str]], todo: list[str], options: SourceOptions
) -> int:
    total = 0
    for number, entry in enumerate(entries, 1):
        if number % _WITHOUT_PAUSE == 0:
            time.sleep(_PAUSE_S)
        if is_hidden_name(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            todo.append(entry.path)
        elif entry.name.endswith((".parquet", ".arrow")):
            total += _in_shard(entry.path, options)
        else:
            total += _may_be_picture(entry.name)
    return total


def _in_shard(path: str, options: SourceOptions) -> int:
    try:
        from .arrow_tables import open_shard
    except RequestError:
        return 0
    try:
        table = open_shard(path, options.column)
        return 0 if table is None else table.count_rows()
    except TableError:
        return 0


def _may_be_picture(name: str) -> bool:
    end = ending(name)
    return end in PICTURE_ENDINGS or (not end and not name.endswith("/"))
