"""The grammar of `octavo bench`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from ..app import DEMO_MODEL
from ..app.cli.command_parser import CommandParser, add_commands
from ..app.cli.engine_options import add_engine_options
from ..core.contracts.specs import load_object
from .compare.compare_config import CompareConfig, Threshold
from .goodput import parse_objective
from .load_config import LoadConfig
from .workload import Lengths, RequestMix, parse_lengths

_SERVER_HELP = "after --: a model and options of octavo serve (default: the demo model)"

#: Where the kind alone would not do, or not show what one mostly wants.
_EXAMPLES = {
    "throughput": "throughput --num-prompts 32 --model HuggingFaceTB/SmolVLM-256M-Instruct",
    "serve": "serve --request-rate 4 -- HuggingFaceTB/SmolVLM-256M-Instruct --max-num-seqs 8",
    "compare": "compare ../main . --pairs 4",
}


def add_bench(parser: CommandParser) -> None:
    """Add the kinds of benchmarks to `octavo bench`."""
    kinds = add_commands(parser, "KIND")
    for name, text, add in (
        ("throughput", "requests that are all there at once, offline", _add_throughput),
        ("latency", "one batch, answered again and again, offline", _add_latency),
        ("serve", "an open-loop load against a server", _add_serve),
        ("startup", "how soon a server answers, and its memory", _add_startup),
        ("encoder-cache", "a repeated image, and memory", _add_encoder_cache),
        ("accuracy", "captions of a fixed set of pictures", _add_accuracy),
        ("compare", "whether a version is slower than another", _add_compare),
    ):
        kind = kinds.add_parser(
            name,
            help=text,
            description=text,
            examples=[f"octavo bench {_EXAMPLES.get(name, name)}"],
        )
        add(kind)
        kind.add_argument("--output-json", type=Path, metavar="FILE", help="write the result")
        kind.add_argument(
            "--plot",
            type=Path,
            metavar="DIR",
            help="write figures and a page with them (needs the extra octavo[bench])",
        )


def _add_throughput(parser: CommandParser) -> None:
    _add_mix(parser, num_prompts=32, input_len=Lengths(64, 512), output_len=Lengths(64, 64))
    _add_model(parser)
    parser.set_defaults(run=_command("throughput"))


def _add_latency(parser: CommandParser) -> None:
    _add_mix(parser, num_prompts=1, input_len=Lengths(512, 512), output_len=Lengths(128, 128))
    parser.add_argument("--num-iters-warmup", type=int, default=2, help="turns not measured")
    parser.add_argument("--num-iters", type=int, default=10, help="turns measured")
    _add_model(parser)
    parser.set_defaults(run=_command("latency"))


def _add_serve(parser: CommandParser) -> None:
    parser.add_argument(
        "--base-url", help="of a server that runs, such as http://host:8000; default: start one"
    )
    _add_mix(parser, num_prompts=100, input_len=Lengths(64, 64), output_len=Lengths(32, 32))
    parser.add_argument(
        "--request-rate", type=float, default=math.inf, help="a second (default: all at once)"
    )
    parser.add_argument(
        "--burstiness",
        type=float,
        default=LoadConfig.burstiness,
        help="shape of the gamma distribution of the gaps: 1 is Poisson, less comes in bursts",
    )
    parser.add_argument("--max-concurrency", type=int, help="requests that are open at once")
    parser.add_argument(
        "--num-warmups", type=int, default=LoadConfig.num_warmups, help="requests before it"
    )
    parser.add_argument(
        "--request-timeout",
        type=float,
        metavar="SECONDS",
        default=LoadConfig.request_timeout,
        help="a request that takes longer has failed",
    )
    parser.add_argument(
        "--goodput",
        nargs="+",
        type=parse_objective,
        default=[],
        metavar="NAME:MS",
        help="objectives such as ttft:500 tpot:50 e2el:2000; those who keep them all are counted",
    )
    parser.add_argument("server_arguments", nargs="*", metavar="MODEL …", help=_SERVER_HELP)
    parser.set_defaults(run=_command("serve"))


def _add_startup(parser: CommandParser) -> None:
    parser.add_argument("--repeats", type=int, default=3, help="warm starts, after a cold one")
    parser.add_argument("--text-only", action="store_true", help="ask without a picture")
    parser.add_argument("server_arguments", nargs="*", metavar="MODEL …", help=_SERVER_HELP)
    parser.set_defaults(run=_command("startup"))


def _add_encoder_cache(parser: CommandParser) -> None:
    parser.add_argument("--images", type=int, default=10, help="images to compare with")
    parser.add_argument("--distinct", type=int, default=1000, help="images to fill memory with")
    parser.add_argument("--redis", metavar="URL", help="default: a server that is installed")
    parser.set_defaults(run=_command("encoder_cache"))


def _add_accuracy(parser: CommandParser) -> None:
    parser.add_argument("--num-questions", type=int, help="the first so many (default: all)")
    parser.add_argument(
        "--methods",
        metavar="NAMES",
        help="compare quantisation methods, on a text too: all, or names such as int8,int4",
    )
    parser.add_argument(
        "--tokens", type=int, help="with --methods: of the text, in whole windows (default: all)"
    )
    parser.add_argument(
        "--beside",
        action="append",
        default=[],
        metavar="CHECKPOINT",
        help="with --methods: a quantised checkpoint of the model, for a row more; may be repeated",
    )
    parser.add_argument(
        "--model", help="default: the demo model; with --methods, SmolLM2-135M beside that"
    )
    add_engine_options(parser)
    parser.set_defaults(run=_command("accuracy"))


def _add_compare(parser: CommandParser) -> None:
    what = "an environment, an interpreter, a source tree, TREE@PYTHON, or a file of --save-runs"
    parser.add_argument("base", nargs="?", metavar="BASE", help=what)
    parser.add_argument("new", nargs="?", metavar="NEW", help="the same")
    parser.add_argument("--pairs", type=int, default=CompareConfig.pairs, help="fresh processes")
    parser.add_argument(
        "--quads", type=int, default=CompareConfig.quads, help="turns of four in each of them"
    )
    parser.add_argument("--startup", action="store_true", help="judge the time to load, too")
    parser.add_argument(
        "--model", help="default: the demo model, and a made one that no processor's cache holds"
    )
    parser.add_argument(
        "--min-effect",
        type=float,
        default=Threshold.min_effect,
        metavar="SHARE",
        help="how much slower NEW may be (default: %(default)s)",
    )
    parser.add_argument("--alpha", type=float, default=Threshold.alpha, help="of all metrics")
    parser.add_argument("--save-runs", type=Path, metavar="DIR", help="write base.json, new.json")
    check = parser.add_argument_group("checking the comparison itself")
    check.add_argument(
        "--self-check",
        action="store_true",
        help="compare BASE (default: this version) with itself, and with itself made slower",
    )
    check.add_argument("--clean", type=int, default=20, help="comparisons with itself")
    check.add_argument("--slowed", type=int, default=10, help="comparisons with it made slower")
    check.add_argument("--slowdown", type=float, default=0.3, metavar="SHARE", help="by this much")
    parser.set_defaults(run=_command("compare"))


def _add_mix(
    parser: CommandParser, num_prompts: int, input_len: Lengths, output_len: Lengths
) -> None:
    lengths = "such as 512, or 64-512 for any between (default: %(default)s)"
    parser.add_argument("--num-prompts", type=int, default=num_prompts, help="requests")
    parser.add_argument(
        "--input-len", type=parse_lengths, default=input_len, help=f"of the text, {lengths}"
    )
    parser.add_argument(
        "--output-len", type=parse_lengths, default=output_len, help=f"of the answer, {lengths}"
    )
    parser.add_argument(
        "--prefix-len", type=int, default=RequestMix.prefix_len, help="what all prompts begin with"
    )
    parser.add_argument(
        "--image-share",
        type=float,
        default=RequestMix.image_share,
        help="of the requests that show an image, from 0 to 1",
    )
    parser.add_argument(
        "--distinct-images", type=int, help="among these (default: all are different)"
    )
    parser.add_argument(
        "--image-size", type=int, default=RequestMix.image_size, help="of its sides, in pixels"
    )
    parser.add_argument("--seed", type=int, default=RequestMix.seed, help="of texts and gaps")


def _add_model(parser: CommandParser) -> None:
    parser.add_argument("--model", default=DEMO_MODEL, help="default: the demo model")
    add_engine_options(parser)


def _command(name: str) -> Callable[[argparse.Namespace], int]:
    """A function of `bench_run`, loaded when it is called: other commands need none of it."""

    def run(options: argparse.Namespace) -> int:
        status: int = load_object(f"{__package__}.bench_run:{name}")(options)
        return status

    return run
