"""The command line's options for a server's files and batches."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...core.contracts.specs import load_object
from .intake_options import count

#: A --batch-dir of a server that keeps none.
_NONE = "none"
_MAX_FILE_MIB = 200
_MAX_DISK_MIB = 10_240
_MAX_LINES = 8


def add_batch_options(parser: argparse.ArgumentParser) -> None:
    """Those of a server."""
    parser.add_argument(
        "--batch-dir",
        metavar="DIR",
        help="where files and batches are kept, by one server at a time; none is a server without "
        "them (default: ~/.local/share/octavo/batches/MODEL, made when it is first needed)",
    )
    parser.add_argument(
        "--max-batch-file-mib",
        type=count,
        default=_MAX_FILE_MIB,
        metavar="N",
        help=f"of one file that is sent (default: {_MAX_FILE_MIB})",
    )
    parser.add_argument(
        "--max-batch-disk-mib",
        type=count,
        default=_MAX_DISK_MIB,
        metavar="N",
        help=f"of all files and answers of batches together (default: {_MAX_DISK_MIB})",
    )
    parser.add_argument(
        "--max-batch-lines",
        type=count,
        default=_MAX_LINES,
        metavar="N",
        help=f"requests of batches that run at once, after all others (default: {_MAX_LINES})",
    )


def batch_config(options: argparse.Namespace) -> Any:
    """A BatchConfig; None for a server without batches."""
    if options.batch_dir == _NONE:
        return None
    folder = None if options.batch_dir is None else Path(options.batch_dir).expanduser()
    limits = load_object("octavo.app.batches.file_store:FileLimits")(
        options.max_batch_file_mib * 2**20, options.max_batch_disk_mib * 2**20
    )
    config = load_object("octavo.app.http.batches.batch_service:BatchConfig")
    return config(folder, limits, options.max_batch_lines)
