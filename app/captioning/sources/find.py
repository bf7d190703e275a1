"""All pictures of all sources, one after the other."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ....core.protocol.errors import RequestError
from ..picture import BrokenAt, FileAt, Location, Picture, Skip, UrlAt, printable
from .columns import plain
from .folders import Listing
from .globs import Glob
from .listed_once import ListedOnce
from .lists import entries_of
from .metadata import METADATA_NAMES, Metadata, find_metadata
from .options import SourceOptions
from .places import place_in_cell, place_of
from .source_kinds import SourceKind, container_kind, kind_of, sidecar_stems
from .tables import Row, Table, TableError, open_table
from .tar_archives import pictures_of_tar
from .zip_archives import pictures_of_zip

_STDIN = "standard input"
#: Endings of files of data sets.
_SHARDS = (".parquet", ".arrow")

Found = Iterator[Picture | Skip]


def find_pictures(sources: Sequence[str], options: SourceOptions) -> Found:
    """Every picture once, in the order of the sources, and what is skipped. Each time the same
    order, if the sources stay as they are. Nothing is opened that may block, and of a folder's
    files nothing is read: what merely lies there is a Picture too, until reading it shows that it
    is none. What went wrong since check_sources is a Picture that can't be read; only a list on
    standard input that is none raises RequestError.
    """
    search = _Search(options, sidecar_stems(sources))
    for source in sources:
        yield from search.source(source)


class _Search:
    def __init__(self, options: SourceOptions, stems: frozenset[str]) -> None:
        self._options = options
        self._stems = stems
        self._once = ListedOnce()

    def source(self, source: str) -> Found:
        try:
            kind = kind_of(source, self._stems)
        except RequestError as error:
            return iter([_broken(source, str(error).removeprefix(f"{printable(source)}: "))])
        match kind:
            case SourceKind.STDIN:
                return self._list(entries_of(self._options.list_stream(), _STDIN), "")
            case SourceKind.URL:
                return self._placed(*place_of(source, ""), source)
            case SourceKind.FOLDER:
                return self._folder(source)
            case SourceKind.GLOB:
                return self._glob(Glob(source))
            case SourceKind.SIDECAR:
                return iter([Skip("sidecar files", source)])
            case SourceKind.PICTURE:
                return self._placed(source, FileAt(source), source)
            case _:
                return self._container(source, kind)

    def _container(self, path: str, kind: SourceKind) -> Found:
        if not self._once.add_file(path):
            yield Skip("listed twice", path)
        elif kind is SourceKind.TAR:
            yield from pictures_of_tar(path, self._options.limits)
        elif kind is SourceKind.ZIP:
            yield from pictures_of_zip(path)
        elif kind is SourceKind.TABLE:
            yield from self._table(path)
        else:
            yield from self._list_in(path)

    def _glob(self, glob: Glob) -> Found:
        kind = container_kind(glob.tail)
        for match in glob.matches():
            if isinstance(match, Skip):
                yield match
                continue
            path, is_folder = match
            if is_folder:
                yield from self._folder(path)
            elif kind is not None:
                yield from self._container(path, kind)
            elif self._once.add_file(path):
                yield Picture(path, FileAt(path))
            else:
                yield Skip("listed twice", path)

    def _folder(self, top: str) -> Found:
        """The files of a folder, then its folders."""
        levels = [_Level(iter([top]))]
        try:
            while levels:
                level = levels[-1]
                folder = next(level.folders, None)
                if folder is None:
                    yield from level.missing()
                    levels.pop().close()
                elif (obstacle := self._obstacle(folder)) is not None:
                    yield Skip(obstacle, folder)
                else:
                    listing = Listing(folder)
                    yield from listing.scan(METADATA_NAMES)
                    own = find_metadata(folder, listing.markers)
                    below = _Level(_paths(folder, listing.folders), own or level.metadata, own)
                    levels.append(below)
                    if own is not None:
                        yield from own.load()
                    yield from self._files(folder, listing, below.metadata)
        finally:
            for level in levels:
                level.close()

    def _obstacle(self, folder: str) -> str | None:
        """The kind of the Skip that a folder is, if it is one."""
        try:
            return None if self._once.add_folder(folder) else "listed twice"
        except OSError:
            return "unreadable folder"

    def _files(self, folder: str, listing: Listing, metadata: Metadata | None) -> Found:
        for path in _paths(folder, listing.files):
            if listing.has_links and os.path.islink(path):
                is_new = self._once.add_file(path)
            else:
                is_new = not self._once.was_named(folder, os.path.basename(path))
            if not is_new:
                yield Skip("listed twice", path)
            elif path.endswith(_SHARDS):
                yield from self._shard(path)
            elif metadata is None:
                yield Picture(path, FileAt(path))
            else:
                yield Picture(path, FileAt(path), metadata.columns_of(path))

    def _shard(self, path: str) -> Found:
        """A file of a data set that was found in a folder: its pictures, if they are in it. A
        table of paths may be anything, such as what an earlier job has written."""
        try:
            # Imported here, as pyarrow is an extra.
            from .arrow_tables import open_shard
        except RequestError:
            yield Skip("Parquet files, which need octavo[parquet]", path)
            return
        table = open_shard(path, self._options.column)
        if table is None:
            yield Picture(path, FileAt(path))
        else:
            yield from self._rows(path, table)

    def _list_in(self, path: str) -> Found:
        try:
            with open(path, "rb") as file:
                yield from self._list(entries_of(file, path), os.path.dirname(path))
        except (OSError, RequestError) as error:
            yield _broken(path, f"the list can't be read: {error}")

    def _list(self, entries: Iterator[str], folder: str) -> Found:
        for entry in entries:
            name, place = place_of(entry, folder)
            if isinstance(place, FileAt) and os.path.isdir(place.path):
                yield Skip("folders in lists", place.path)
            else:
                yield from self._placed(name, place, entry)

    def _table(self, path: str) -> Found:
        try:
            table = open_table(path)
            table.column(self._options.column)
        except (TableError, RequestError) as error:
            yield _broken(path, f"the table can't be read: {error}")
        else:
            yield from self._rows(path, table)

    def _rows(self, path: str, table: Table) -> Found:
        column = table.column(self._options.column)
        folder = os.path.dirname(path)
        try:
            for row in table.rows(column):
                yield from self._row(f"{path}#{row.index}", row, column, folder)
        except TableError as error:
            yield _broken(path, f"the table can't be read: {error}")

    def _row(self, name: str, row: Row, column: str, folder: str) -> Found:
        columns = {key: plain(value) for key, value in row.columns.items()}
        if row.error is not None:
            yield Picture(name, BrokenAt(row.error), columns, was_named=True)
            return
        if isinstance(row.cell, dict) and row.cell.get("path"):
            columns[column] = plain(row.cell["path"])
        path, place = place_in_cell(row.cell, folder)
        yield from self._placed(path, place, name, columns)

    def _placed(
        self,
        name: str | None,
        place: Location,
        otherwise: str,
        columns: Mapping[str, Any] | None = None,
    ) -> Found:
        """A picture that was named, unless it was listed before. otherwise: its name if it has
        none."""
        name = otherwise if name is None else name
        if isinstance(place, FileAt):
            is_new = self._once.add_file(place.path)
        else:
            is_new = not isinstance(place, UrlAt) or self._once.add_url(place.url)
        yield Picture(name, place, columns or {}, True) if is_new else Skip("listed twice", name)


@dataclass
class _Level:
    """Of a tree: folders of one that are still to be listed. metadata: that is about them; own:
    the same, if it is of this folder."""

    folders: Iterator[str]
    metadata: Metadata | None = None
    own: Metadata | None = None

    def missing(self) -> Iterator[Picture]:
        """What its own metadata names in vain."""
        return iter(()) if self.own is None else self.own.missing()

    def close(self) -> None:
        if self.own is not None:
            self.own.close()


def _broken(name: str, reason: str) -> Picture:
    return Picture(name, BrokenAt(printable(reason)), was_named=True)


def _paths(folder: str, names: Iterable[str]) -> Iterator[str]:
    start = os.path.join(folder, "")
    return (start + name for name in names)
