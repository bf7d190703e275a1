"""The output that a command names."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ....core.protocol.errors import RequestError
from ..picture import printable
from .csv_lines import CsvLines
from .fields import ERROR, FILE
from .json_lines import JsonLines
from .lines_sink import LinesSink
from .output_options import OutputOptions
from .parquet_sink import ParquetSink
from .picture_format import PICTURE_ENDINGS
from .shard_sink import ShardSink
from .sidecars import Sidecars
from .sink import Sink
from .stream_sink import StreamSink
from .with_sidecars import WithSidecars

STANDARD_OUTPUT = Path("-")


def _json_sink(path: str, options: OutputOptions) -> Sink:
    return LinesSink(path, JsonLines(options), options)


def _csv_sink(path: str, options: OutputOptions) -> Sink:
    return LinesSink(path, CsvLines(",", options), options)


def _tsv_sink(path: str, options: OutputOptions) -> Sink:
    return LinesSink(path, CsvLines("\t", options), options)


_SINKS: dict[str, Callable[[str, OutputOptions], Sink]] = {
    ".jsonl": _json_sink,
    ".ndjson": _json_sink,
    ".csv": _csv_sink,
    ".tsv": _tsv_sink,
    ".parquet": ParquetSink,
    ".tar": ShardSink,
}
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip", ".tgz")


def sink_for(output: Path | None, options: OutputOptions) -> Sink:
    """By the ending of its name; "-" is standard output. None: sidecars alone. Pipes and devices
    take JSON lines. Raises RequestError for an ending that isn't known, and for fields, prompts or
    sidecars that there aren't."""
    if output is None:
        if not options.sidecars:
            raise RequestError("there is nowhere to write to: name a file with -o, or --sidecar")
        return Sidecars(options)
    sink = _file_sink(output, options)
    return WithSidecars(sink, Sidecars(options)) if options.sidecars else sink


def errors_sink(path: Path, options: OutputOptions) -> Sink:
    """Of the pictures that failed, for --errors: JSON lines with the file and the error. Raises
    RequestError."""
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        raise RequestError(f"--errors {printable(str(path))}: its name must end in .jsonl")
    chosen = replace(options, prompts=(), fields=(FILE, ERROR), sidecars=(), flag="--errors")
    return _json_sink(str(path), chosen)


def _file_sink(output: Path, options: OutputOptions) -> Sink:
    path = str(output)
    if output == STANDARD_OUTPUT:
        return StreamSink(None, options)
    if is_stream(path):
        return StreamSink(path, options)
    if output.is_dir():
        raise RequestError(f"{printable(path)} is a folder: name a file in it with -o")
    ending = output.suffix.lower()
    if ending in _SINKS:
        return _SINKS[ending](path, options)
    what = f"{printable(path)} can't be written: "
    if ending in PICTURE_ENDINGS:
        what += "it is called as a picture is"
    elif ending in _COMPRESSED:
        what += f"{ending} can't be gone on with after a crash, so compress it afterwards"
    else:
        what += f"there is no format {ending}" if ending else "its name has no ending"
    raise RequestError(f"{what}; the endings that there are: {', '.join(_SINKS)}, or - alone")


def is_stream(path: str) -> bool:
    """Whether it is a pipe or a device, which nobody can go back in."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
