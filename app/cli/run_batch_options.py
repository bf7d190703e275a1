"""The command line's options of `octavo run-batch`."""

from __future__ import annotations

from pathlib import Path

from .. import DEMO_MODEL
from .command_parser import CommandParser
from .engine_options import add_engine_options
from .intake_options import add_intake_options, count

_MAX_BODY_MIB = 64


def add_run_batch_options(parser: CommandParser, model_help: str) -> None:
    """All of them."""
    parser.add_argument(
        "input", type=Path, metavar="FILE", help="requests in JSON lines, as /v1/batches takes them"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="where the answers go, in JSON lines; a journal beside it lets the same command go on",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="begin anew, whatever the output is of"
    )
    parser.add_argument(
        "--model", default=DEMO_MODEL, help=f"{model_help} (default: the demo model)"
    )
    parser.add_argument(
        "--served-model-name",
        help="the name that requests use (default: the model's, without its folder)",
    )
    parser.add_argument(
        "--max-body-mib",
        type=count,
        default=_MAX_BODY_MIB,
        help=f"of one request (default: {_MAX_BODY_MIB})",
    )
    add_engine_options(parser)
    add_intake_options(parser)
