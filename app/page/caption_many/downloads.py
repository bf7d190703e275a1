"""What a visitor takes home: JSON lines, CSV, and a zip of sidecars, as `octavo caption` writes
them."""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ...captioning.outputs.csv_lines import CsvLines
from ...captioning.outputs.json_lines import JsonLines
from ...captioning.outputs.output_options import OutputOptions
from ...captioning.outputs.row import Row
from .album import Album, Entry
from .sidecar_paths import sidecar_paths

_PROMPT = "caption"
_OPTIONS = OutputOptions(prompts=(_PROMPT,))
#: How cells begin that spreadsheets take for formulas (OWASP's "CSV injection").
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
#: Without which Excel takes UTF-8 for another encoding.
_BOM = b"\xef\xbb\xbf"


class Downloads(NamedTuple):
    """Paths of files."""

    jsonl: str
    csv: str
    sidecars: str


def write_downloads(album: Album, cache: str) -> Downloads | None:
    """Of pictures with a caption or an error, into a new folder in Gradio's cache; what was written
    before is deleted. None if there is nothing to write."""
    delete_downloads(album)
    entries = [entry for entry in album.entries if entry.caption is not None or entry.error]
    if not entries:
        return None
    album.downloads = tempfile.mkdtemp(prefix="captions-", dir=cache)
    folder = Path(album.downloads)
    written = Downloads(
        str(folder / "captions.jsonl"), str(folder / "captions.csv"), str(folder / "captions.zip")
    )
    rows = [_row(entry) for entry in entries]
    Path(written.jsonl).write_bytes(b"".join(map(JsonLines(_OPTIONS).line, rows)))
    Path(written.csv).write_bytes(b"".join(_csv(rows, written.csv)))
    Path(written.sidecars).write_bytes(_zip(entries))
    return written


def delete_downloads(album: Album) -> None:
    """Those that were written."""
    if album.downloads is not None:
        shutil.rmtree(album.downloads, ignore_errors=True)
        album.downloads = None


def _row(entry: Entry) -> Row:
    texts = {} if entry.caption is None else {_PROMPT: entry.caption}
    return Row(entry.name, None, texts, entry.error)


def _csv(rows: Iterable[Row], path: str) -> Iterator[bytes]:
    lines = CsvLines(",", _OPTIONS)
    yield _BOM + lines.start(path, None)
    for row in rows:
        texts = {name: _no_formula(text) for name, text in row.texts.items()}
        error = None if row.error is None else _no_formula(row.error)
        yield lines.line(replace(row, name=_no_formula(row.name), texts=texts, error=error))


def _no_formula(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULAS) else cell


def _zip(entries: Sequence[Entry]) -> bytes:
    captioned = [entry for entry in entries if entry.caption is not None]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, path in zip(captioned, sidecar_paths(captioned), strict=True):
            archive.writestr(path, f"{entry.caption}\n")
    return file.getvalue()
