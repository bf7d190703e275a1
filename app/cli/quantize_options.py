"""The command line's options of `octavo quantize`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...core.contracts.specs import load_object
from .command_parser import CommandParser
from .intake_options import count

_METHODS = (
    "int4: 4 bits, the best of what is here; int8, fp8: 8 bits, a scale for each output; rtn "
    "(round to the nearest), awq, gptq: as --bits, --group-size and --symmetric say; rtn and gptq "
    "in --float8, too"
)
#: As in app/quantize, which isn't imported before it is run.
METHODS = ("int4", "int8", "fp8", "rtn", "awq", "gptq")


def add_quantize_options(parser: CommandParser, model_help: str) -> None:
    """All of them."""
    parser.add_argument("model", help=f"{model_help}, with plain weights")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="that is made"
    )
    parser.add_argument("--method", choices=METHODS, default="int4", help=_METHODS)
    parser.add_argument("--bits", type=int, help="4 or 8 (default: 4)")
    parser.add_argument(
        "--group-size", type=int, help="inputs that share a scale: 32, 64 or 128 (default: 64)"
    )
    parser.add_argument("--symmetric", action="store_true", help="groups have scales and no zeros")
    parser.add_argument(
        "--float8",
        action="store_true",
        help="of rtn and gptq: float8 e4m3 with a scale for each output, in place of integers",
    )
    parser.add_argument(
        "--bits-budget",
        type=float,
        metavar="BITS",
        help="of int4, gptq and rtn: so many bits a weight on average, scales and zeros counted; "
        "layers get 8, or 4 in groups of 32 or 64, by how much each changes what the model says",
    )
    parser.add_argument(
        "--act-order",
        action="store_true",
        help="of gptq: round the columns with the largest inputs first; groups stay in order",
    )
    parser.add_argument(
        "--damping",
        type=float,
        help="of gptq: added to the Hessian's diagonal, as a share of its mean (default: 0.01)",
    )
    parser.add_argument(
        "--no-tuning",
        action="store_true",
        help="of int4: leave scales as they are found layer by layer, which takes about half as "
        "long and loses more",
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE_OR_DIR",
        help='a text (.txt, .jsonl with "text" or "messages"), or a folder of texts and pictures '
        "(default: texts that come with Octavo)",
    )
    parser.add_argument(
        "--num-samples", type=count, help="pieces and pictures to calibrate on (default: 64)"
    )
    parser.add_argument("--sample-len", type=count, help="tokens of a piece of text (default: 512)")
    parser.set_defaults(run=run_quantize)


def run_quantize(options: argparse.Namespace) -> int:
    """Quantise, and print what became of the layers. Raises ConfigError."""
    quantize_and_print = load_object("octavo.app.cli.quantizing:quantize_and_print")
    quantize_and_print(options)
    return 0
