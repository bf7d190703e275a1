"""The command line's options of `octavo caption`."""

from __future__ import annotations

from pathlib import Path

from .. import DEMO_MODEL
from ..captioning.prompts.options import add_prompt_options
from .command_parser import CommandParser
from .engine_options import add_engine_options
from .intake_options import add_fetch_options, count

_SOURCES = (
    "pictures, folders, patterns such as 'photos/**/*.jpg', lists (.txt), tables (.jsonl, .csv, "
    ".tsv, .parquet), archives (.tar, .zip), data sets, URLs, or - for a list on standard input"
)


def add_caption_options(parser: CommandParser, model_help: str) -> None:
    """All of them."""
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help=_SOURCES)
    parser.add_argument(
        "--model", default=DEMO_MODEL, help=f"{model_help} (default: the demo model)"
    )
    _add_destination(parser)
    _add_going_on(parser)
    add_prompt_options(parser)
    _add_elsewhere(parser)
    add_engine_options(parser)
    add_fetch_options(parser)


def _add_destination(parser: CommandParser) -> None:
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help=".jsonl, .csv, .tsv, .parquet, or .tar for WebDataset shards (default: - , JSON lines "
        "to standard output)",
    )
    parser.add_argument(
        "--sidecar",
        action="append",
        default=[],
        metavar="ENDING[=PROMPT]",
        help="a file beside each picture: .txt, .caption, .json or .xmp; may be repeated",
    )
    parser.add_argument(
        "--errors", type=Path, metavar="FILE", help="JSON lines of the pictures that failed"
    )
    parser.add_argument("--column", metavar="NAME", help="of tables: that of the pictures")
    parser.add_argument(
        "--fields",
        type=_names,
        default=(),
        metavar="A,B",
        help="what is written of each picture: file, names of prompts, error, width, height, "
        "digest, duplicate_of, finish_reason, prompt_tokens, completion_tokens, and columns "
        "(default: file, the prompts and error)",
    )
    parser.add_argument(
        "--paths",
        choices=("given", "relative", "absolute"),
        default="given",
        help="how files are named: as the source does, from the output's folder, or from the root "
        "(default: given)",
    )
    parser.add_argument(
        "--no-header",
        action="store_false",
        dest="header",
        help="no line about the job (model, digest of its weights, prompts, version) before the "
        "captions; by default there is one",
    )
    parser.add_argument(
        "--shard-size", type=count, default=10_000, metavar="N", help="pictures in a .tar"
    )


def _add_going_on(parser: CommandParser) -> None:
    parser.add_argument(
        "--journal",
        type=Path,
        metavar="FILE",
        help="by which the same command goes on after whatever ended it (default: OUTPUT.journal)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="start anew, and replace what is there"
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="try pictures again that failed before"
    )
    parser.add_argument(
        "--only-missing",
        action="store_true",
        help="add to an output, or to sidecars, that no journal knows of",
    )
    parser.add_argument(
        "--dedupe",
        action="store_true",
        help="caption pictures with the same content once, and write the caption for each",
    )
    parser.add_argument(
        "--max-errors", type=count, metavar="N", help="end the job once so many have failed"
    )


def _add_elsewhere(parser: CommandParser) -> None:
    parser.add_argument(
        "--workers",
        nargs="+",
        default=[],
        metavar="URL",
        help="servers of the OpenAI API, such as http://host:8000, that answer in place of a model "
        "in this process",
    )
    parser.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="actors of Ray answer, one on each node: auto, HOST:PORT, or local (the default)",
    )
    parser.add_argument(
        "--progress",
        choices=("auto", "bar", "json", "none"),
        default="auto",
        help="a bar, JSON lines or nothing on standard error (default: auto, a bar on a terminal "
        "and else a summary)",
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))
