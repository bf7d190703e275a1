"""What the kinds of `octavo bench` do with their options, and with what they measured.

Each returns the exit status, and raises ConfigError for options that can't work.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ..app import DEMO_MODEL
from ..app.cli.engine_options import engine_config
from ..core.contracts.specs import load_object
from ..core.protocol.config import ConfigError
from .compare.compare_config import CompareConfig, Threshold
from .compare.side import find_side
from .load_config import LoadConfig
from .machine import describe_machine
from .output_paths import check_output_file, check_output_folder
from .report import check_can_plot, write_report
from .result import Result, print_result, write_json
from .workload import RequestMix

_Settings = TypeVar("_Settings")


def throughput(options: argparse.Namespace) -> int:
    """`octavo bench throughput`."""
    mix = _settings(RequestMix, options)
    return _finish(options, _run("throughput", options, engine_config(options), mix))


def latency(options: argparse.Namespace) -> int:
    """`octavo bench latency`."""
    mix = _settings(RequestMix, options)
    counts = (options.num_iters_warmup, options.num_iters)
    return _finish(options, _run("latency", options, engine_config(options), mix, *counts))


def serve(options: argparse.Namespace) -> int:
    """`octavo bench serve`; 1 if no request was answered."""
    mix, load = _settings(RequestMix, options), _settings(LoadConfig, options)
    arguments = (options.base_url, options.server_arguments, mix, load, options.goodput)
    result = _run("serve", options, *arguments)
    _finish(options, result)
    return 0 if result["completed"] else 1


def startup(options: argparse.Namespace) -> int:
    """`octavo bench startup`."""
    result = _run("startup", options, options.server_arguments, options.repeats, options.text_only)
    return _finish(options, result)


def encoder_cache(options: argparse.Namespace) -> int:
    """`octavo bench encoder-cache`."""
    arguments = (options.images, options.distinct, options.redis)
    return _finish(options, _run("encoder_cache", options, *arguments))


def accuracy(options: argparse.Namespace) -> int:
    """`octavo bench accuracy`."""
    if options.num_questions is not None and options.num_questions < 1:
        raise ConfigError(f"num_questions must be at least 1, got {options.num_questions}")
    model, options.model = options.model, options.model or DEMO_MODEL
    config = engine_config(options)
    if options.methods is not None:
        arguments = (model, options.methods, options.tokens, options.num_questions)
        result = _run("methods.run", options, config, *arguments, options.beside)
        return _finish(options, result, load_object(f"{__package__}.methods.run:print_methods"))
    if options.tokens is not None:
        raise ConfigError("--tokens goes with --methods")
    if options.beside:
        raise ConfigError("--beside goes with --methods")
    return _finish(options, _run("accuracy", options, config, options.num_questions))


def compare(options: argparse.Namespace) -> int:
    """`octavo bench compare`; 1 if a metric regressed, or the self-check failed."""
    config, threshold = _settings(CompareConfig, options), _settings(Threshold, options)
    if options.self_check:
        return _self_check(options, config, threshold)
    if options.base is None or options.new is None:
        raise ConfigError("compare needs BASE and NEW, or --self-check")
    arguments = (options.base, options.new, config, threshold, options.save_runs)
    result = _run("compare.compare", options, *arguments)
    _finish(options, result)
    return 1 if result["regressions"] else 0


def _self_check(options: argparse.Namespace, config: CompareConfig, threshold: Threshold) -> int:
    side = find_side(options.base or str(Path(__file__).parents[1]))
    arguments = (config, threshold, options.clean, options.slowed, options.slowdown)
    result = _run("compare.self_check", options, side, *arguments)
    _finish(options, result)
    return 0 if result["passed"] else 1


def _run(module: str, options: argparse.Namespace, *arguments: Any) -> Result:
    """Call a benchmark's `run`; loaded here, so that those without an engine need no torch."""
    _check_outputs(options)
    print(describe_machine())
    run = load_object(f"{__package__}.{module}:run")
    result: Result = (
        asyncio.run(run(*arguments)) if inspect.iscoroutinefunction(run) else run(*arguments)
    )
    return result


def _check_outputs(options: argparse.Namespace) -> None:
    if options.output_json is not None:
        check_output_file("--output-json", options.output_json)
    if options.plot is not None:
        check_can_plot()
        check_output_folder("--plot", options.plot)
    if getattr(options, "save_runs", None) is not None:
        check_output_folder("--save-runs", options.save_runs)


def _finish(
    options: argparse.Namespace, result: Result, show: Callable[[Result], None] = print_result
) -> int:
    show(result)
    if options.output_json is not None:
        write_json(result, options.output_json)
    if options.plot is not None:
        for path in write_report(result, options.plot):
            print(path)
    return 0


def _settings(kind: type[_Settings], options: argparse.Namespace) -> _Settings:
    """The fields of a dataclass that were parsed. Raises ConfigError."""
    names = inspect.signature(kind).parameters
    return kind(**{k: v for k, v in vars(options).items() if k in names})
