"""The commands of `octavo`, but for those that measure."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

from ... import __version__
from ...core.contracts.specs import load_object
from ...core.protocol.config import DTYPES
from ...core.registry.registry import get_registry
from ...core.system.descriptors import raise_descriptor_limit
from ...core.system.log_setup import set_up_logging
from ...core.system.openmp import limit_spinning
from .. import DEMO_MODEL
from .caption_options import add_caption_options
from .chat_options import add_chat_options, run_chat
from .command_parser import CommandParser, Commands, add_commands
from .demo_options import add_demo_options, run_demo
from .engine_options import add_engine_options, engine_config
from .failures import guarded
from .keys import add_keys_commands
from .log_options import log_setup
from .quantize_options import add_quantize_options
from .run_batch_options import add_run_batch_options
from .serve_options import add_serve_options
from .serving import default_name, serve

logger = logging.getLogger(__name__)

_MODEL_HELP = "a folder, a GGUF file or a hub id"


def run(parser: CommandParser, arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; returns the exit status, see `guarded`."""
    words = sys.argv[1:] if arguments is None else list(arguments)

    def command() -> int:
        options = parser.parse_args(words)
        limit_spinning()
        raise_descriptor_limit()
        set_up_logging(log_setup(options))
        status: int = options.run(options)
        return status

    return guarded(command, shows_traceback="--debug" in words)


def build_parser() -> tuple[CommandParser, Commands]:
    """The command line's grammar, and where further commands are added."""
    parser = CommandParser(
        prog="octavo",
        description="Serve vision-language models.",
        examples=["octavo serve", "octavo chat --image dog.jpg", "octavo serve --help"],
    )
    parser.add_argument("--version", action="version", version=f"octavo {__version__}")
    commands = add_commands(parser, "COMMAND")
    serve_parser = commands.add_parser(
        "serve",
        help="serve a model over an OpenAI-style HTTP API",
        examples=["octavo serve HuggingFaceTB/SmolVLM-256M-Instruct --max-num-seqs 8"],
    )
    add_serve_options(serve_parser, _MODEL_HELP)
    serve_parser.set_defaults(run=serve)
    demo = commands.add_parser(
        "demo",
        help="serve a model and a page to try it on in a browser",
        examples=["octavo demo", "octavo demo --base-url http://127.0.0.1:8000 --port 8001"],
    )
    add_demo_options(demo, _MODEL_HELP)
    demo.set_defaults(run=partial(run_demo, demo))
    batch = commands.add_parser(
        "run-batch",
        help="answer a file of requests, without a server",
        examples=["octavo run-batch requests.jsonl -o answers.jsonl"],
    )
    add_run_batch_options(batch, _MODEL_HELP)
    batch.set_defaults(run=_run_batch)
    caption = commands.add_parser(
        "caption",
        help="caption any number of pictures, each exactly once",
        examples=[
            "octavo caption photos/ -o captions.jsonl",
            "octavo caption photos/ --sidecar .txt --prompt 'Describe this photograph.'",
            "octavo caption 'photos/**/*.jpg' -o captions.parquet --dedupe --strip",
        ],
    )
    add_caption_options(caption, _MODEL_HELP)
    caption.set_defaults(run=_caption)
    _add_chat(
        commands.add_parser(
            "chat",
            help="talk with a model in the terminal",
            examples=["octavo chat --image dog.jpg --prompt 'What is this?'"],
        )
    )
    _add_verify(
        commands.add_parser(
            "verify",
            help="compare a model with transformers",
            examples=["octavo verify HuggingFaceTB/SmolVLM-256M-Instruct --image dog.jpg"],
        )
    )
    _add_deploy(
        commands.add_parser(
            "deploy",
            help="what automatic deployment does to a model",
            examples=["octavo deploy Salesforce/blip-image-captioning-base --dry-run"],
        )
    )
    quantize = commands.add_parser(
        "quantize",
        help="write a checkpoint in fewer bits, calibrated on a text or pictures",
        examples=[
            "octavo quantize HuggingFaceTB/SmolVLM-256M-Instruct -o smolvlm-int4",
            "octavo quantize my-model -o my-model-gptq --method gptq --group-size 128 --symmetric",
        ],
    )
    add_quantize_options(quantize, "a folder or a hub id")
    _add_kernels(
        commands.add_parser(
            "kernels",
            help="which kernels would run here, and why",
            examples=["octavo kernels --dtype bfloat16"],
        )
    )
    _add_plugins(commands.add_parser("plugins", help="what is installed"))
    add_keys_commands(commands.add_parser("keys", help="API keys for octavo serve --api-keys"))
    _add_doctor(
        commands.add_parser(
            "doctor",
            help="look over the machine, the installation and the settings, and try a picture",
            examples=["octavo doctor", "octavo doctor --config octavo.toml --json"],
        )
    )
    completion = commands.add_parser(
        "completion",
        help="print a script that completes commands and options in a shell",
        examples=["octavo completion bash"],
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="whose script")
    # Of the whole grammar, with commands that are added later.
    completion.set_defaults(run=partial(_complete, parser))
    return parser, commands


def _add_kernels(parser: CommandParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, …")
    parser.add_argument("--dtype", choices=DTYPES[1:], default="float32", help="of activations")
    parser.set_defaults(run=_list_kernels)


def _add_doctor(parser: CommandParser) -> None:
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="of octavo serve: look at these settings too"
    )
    parser.add_argument(
        "--encoder-cache", metavar="URL", help="of octavo serve: see whether this store answers"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_diagnose)


def _add_plugins(parser: CommandParser) -> None:
    actions = add_commands(parser, "ACTION")
    actions.add_parser(
        "list",
        help="print every plugin and what it brings",
        examples=["octavo plugins list"],
    ).set_defaults(run=_list_plugins)
    check = actions.add_parser(
        "check",
        help="try whether plugins keep their contract",
        examples=["octavo plugins check octavo-dinov2"],
    )
    check.add_argument("name", nargs="?", help="a plugin or a package (default: all)")
    check.set_defaults(run=_check_plugins)


def _add_chat(parser: CommandParser) -> None:
    parser.add_argument("model", nargs="?", default=DEMO_MODEL, help=_MODEL_HELP)
    add_chat_options(parser)
    parser.set_defaults(run=partial(_chat, parser))


def _add_verify(parser: CommandParser) -> None:
    parser.add_argument("model", nargs="?", default=DEMO_MODEL, help=_MODEL_HELP)
    parser.add_argument("--image", action="append", default=[], type=Path, help="one more picture")
    parser.add_argument("--max-tokens", type=int, default=16, help="of each answer")
    add_engine_options(parser)
    parser.set_defaults(run=_verify, dtype="float32")


def _add_deploy(parser: CommandParser) -> None:
    parser.add_argument("model", help=_MODEL_HELP)
    parser.add_argument("--dry-run", action="store_true", help="load no weights, only look")
    parser.add_argument("--skip", action="append", default=[], metavar="PASS", help="leave it out")
    add_engine_options(parser)
    parser.set_defaults(run=_deploy)


def _run_batch(options: argparse.Namespace) -> int:
    return cast(int, load_object("octavo.app.cli.run_batch:run_batch")(options))


def _caption(options: argparse.Namespace) -> int:
    return cast(int, load_object("octavo.app.cli.captioning:caption")(options))


def _chat(parser: CommandParser, options: argparse.Namespace) -> int:
    model = None if options.model == DEMO_MODEL else options.model
    return run_chat(parser, options, model, default_name(options.model))


def _verify(options: argparse.Namespace) -> int:
    verify = load_object("octavo.app.verify.verify:verify_and_print")
    agrees = verify(engine_config(options), options.image, options.max_tokens)
    return 0 if agrees else 1


def _deploy(options: argparse.Namespace) -> int:
    deploy_and_print = load_object("octavo.app.cli.deploying:deploy_and_print")
    deploy_and_print(engine_config(options), options.skip, options.dry_run)
    return 0


def _list_kernels(options: argparse.Namespace) -> int:
    list_kernels = load_object("octavo.app.cli.kernel_listing:list_kernels")
    for line in list_kernels(options.device, options.dtype):
        print(line)
    return 0


def _diagnose(options: argparse.Namespace) -> int:
    diagnose = load_object("octavo.app.cli.diagnosis:diagnose_and_print")
    debug = "debug" in options  # its default is suppressed
    healthy = diagnose(options.config, options.encoder_cache, options.json, debug)
    return 0 if healthy else 1


def _list_plugins(options: argparse.Namespace) -> int:
    registry = get_registry()
    for plugin in registry.plugins:
        print(f"{plugin.name} ({plugin.source})")
        if plugin.error:
            print(f"  refused: {plugin.error}")
        for brought in registry.brought_by(plugin.name):
            print(f"  {brought}")
    return 0


def _check_plugins(options: argparse.Namespace) -> int:
    check = load_object("octavo.app.conformance.check:check_and_print")
    return 0 if check(options.name) else 1


def _complete(parser: CommandParser, options: argparse.Namespace) -> int:
    load_object("octavo.app.cli.completion:print_completion")(parser, options.shell)
    return 0
