"""What is wrong with a job's sources, told before anything is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import islice

from ....core.protocol.errors import RequestError
from ..picture import FileAt, Location, printable
from .formats import ending
from .globs import Glob
from .lists import entries_of
from .metadata import METADATA_NAMES
from .options import SourceOptions
from .places import place_in_cell, place_of
from .source_kinds import SourceKind, container_kind, kind_of, sidecar_stems
from .tables import TableError, open_table

#: Of a list or a table: if none of the first ones exists, it is taken for something else.
_TRIED = 100
#: Of a folder that `datasets` saved.
_SAVED_TO_DISK = ("dataset_dict.json", "state.json")
_WITHOUT_COLUMNS = (SourceKind.URL, SourceKind.PICTURE, SourceKind.STDIN, SourceKind.LIST)
#: Names in a folder, of which some may be of its metadata.
_LOOKED_AT = 100_000
#: Endings of tables that hold pictures.
_TABLES_IN_FOLDERS = frozenset((".parquet", ".arrow"))
#: Kinds with a column to name.
_WITH_COLUMNS = frozenset((SourceKind.TABLE, SourceKind.FOLDER, SourceKind.GLOB))


def may_have_columns(sources: Sequence[str]) -> bool:
    """Whether prompts and outputs may ask for columns: of a table, an archive, or the metadata of
    a folder, one that is too large to look through included."""
    stems = sidecar_stems(sources)
    kinds = {source: kind_of(source, stems) for source in sources}
    return any(
        _has_tables(source) if kind is SourceKind.FOLDER else kind not in _WITHOUT_COLUMNS
        for source, kind in kinds.items()
    )


def _has_tables(folder: str) -> bool:
    left = _LOOKED_AT
    for _, _, names in os.walk(folder):
        if any(name in METADATA_NAMES or ending(name) in _TABLES_IN_FOLDERS for name in names):
            return True
        left -= 1 + len(names)
        if left < 0:
            return True
    return False


def check_sources(sources: Sequence[str], options: SourceOptions) -> None:
    """Raises RequestError, which names the source: one that doesn't exist, a pattern that nothing
    matches, a table without such a column, a list of no files, a package that is missing. Reads
    little of each, and nothing from standard input."""
    if not sources:
        raise RequestError("there is nothing to caption; name files, folders, lists or tables")
    if sources.count("-") > 1:
        raise RequestError("-: standard input can be read once only")
    stems = sidecar_stems(sources)
    kinds = [kind_of(source, stems) for source in sources]
    if options.column is not None and _WITH_COLUMNS.isdisjoint(kinds):
        raise RequestError(f"--column {options.column}: no source is a table")
    for source, kind in zip(sources, kinds, strict=True):
        try:
            _check(source, kind, options, is_alone=len(sources) == 1)
        except OSError as error:
            reason = f"{printable(source)}: it can't be read: {error.strerror or error}"
            raise RequestError(reason) from error


def _check(source: str, kind: SourceKind, options: SourceOptions, is_alone: bool) -> None:
    if kind is SourceKind.STDIN and options.list_stream().isatty():
        raise RequestError("-: a list is read from standard input, which is a terminal; pipe it in")
    if kind is SourceKind.GLOB:
        _check_glob(source, options)
    elif kind is SourceKind.FOLDER:
        _check_folder(source)
    elif kind is SourceKind.LIST:
        _check_list(source)
    elif kind is SourceKind.TABLE:
        _check_table(source, options, is_alone)


def _check_glob(source: str, options: SourceOptions) -> None:
    glob = Glob(source)
    first = next((match for match in glob.matches() if isinstance(match, tuple)), None)
    if first is None:
        raise RequestError(f"{printable(source)}: nothing matches this pattern")
    if container_kind(glob.tail) is SourceKind.TABLE:
        _check_table(first[0], options, is_alone=False)


def _check_folder(source: str) -> None:
    with os.scandir(source):
        pass
    if any(os.path.exists(os.path.join(source, name)) for name in _SAVED_TO_DISK):
        # Imported to see whether it can be, as pyarrow is an extra.
        from .arrow_tables import open_shard  # noqa: F401


def _check_list(source: str) -> None:
    folder = os.path.dirname(source)
    with open(source, "rb") as file:
        entries = list(islice(entries_of(file, printable(source)), _TRIED))
    if not entries:
        raise RequestError(f"{printable(source)}: the list is empty")
    _check_places(source, (place_of(entry, folder)[1] for entry in entries), entries[0])


def _check_table(source: str, options: SourceOptions, is_alone: bool) -> None:
    paths = []
    try:
        table = open_table(source)
        for row in islice(table.rows(table.column(options.column)), _TRIED):
            if isinstance(row.cell, str):
                paths.append(row.cell)
            elif row.cell is not None:
                return  # the pictures themselves, which are large
    except TableError as error:
        if is_alone:
            raise RequestError(f"{printable(source)}: it can't be read: {error}") from error
        return  # a row of the output will say so
    if paths:
        folder = os.path.dirname(source)
        _check_places(source, [place_in_cell(path, folder)[1] for path in paths], paths[0])


def _check_places(source: str, places: Iterable[Location], first: str) -> None:
    """Raises RequestError if all are paths of files that don't exist. first: of the entries."""
    if not all(isinstance(place, FileAt) and not _exists(place.path) for place in places):
        return
    hint = "is it a list of pictures?"
    if _exists(first):
        hint = "they are relative to the list's or table's own folder, not to the current one"
    raise RequestError(
        f"{printable(source)}: none of the files that it names exists, such as "
        f"{printable(first)!r:.200}; {hint}"
    )


def _exists(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:
        return False
