"""How fast a model answers in each quantisation method, beside bfloat16, in one run.

    python -m octavo.bench.methods.speed MODEL [--methods int8,int4] [--beside CHECKPOINT ...]

Prints the machine and a table: tokens a second after a prompt of 64 tokens, and the first token of
a prompt of 512, each the median of seven turns, and what they are to bfloat16's in the same turn:
above 1 is faster. One request at a time. All methods of the model are in memory at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace

from ...app.table import print_table
from ...core.checkpoints.find_checkpoint import find_checkpoint
from ...core.protocol.config import ConfigError, EngineConfig
from ...core.quantization.quantizer import quantization_name
from ...core.registry.registry import UnsupportedModelError, get_registry
from ..machine import describe_machine
from ..offline import OfflineEngine
from .beside import beside_configs
from .compare_methods import BASE
from .decode_speed import measure_decode, measure_first_token
from .run import choose_methods

_DECODE_PROMPT, _DECODE_LENGTH, _FIRST_PROMPT = 64, 65, 512
_LONGEST = _FIRST_PROMPT + 1
_HEADINGS = ("method", "tokens/s", "× base", "first token ms", "× base")


def contenders(model: str, methods: str, beside: Sequence[str]) -> dict[str, EngineConfig]:
    """Engines' configs by what they are called, the base first. Raises ConfigError for methods that
    there are not, and for a model or a checkpoint beside it that can't be compared."""
    checkpoint = find_checkpoint(model)
    stored = quantization_name(checkpoint.kept_packed, None)
    if stored is not None:
        raise ConfigError(f"{model} is quantised with {stored}: name it --beside the plain one")
    base = EngineConfig(model=model, dtype=BASE, max_model_len=_LONGEST, max_num_seqs=1)
    chosen = choose_methods(methods, get_registry())
    found = {m: replace(base, quantization=None if m == BASE else m) for m in chosen}
    return found | beside_configs(checkpoint, base, beside, found)


def speed_rows(configs: Mapping[str, EngineConfig]) -> list[tuple[str, ...]]:
    """Of the table. Raises ConfigError, UnsupportedModelError or RequestError."""
    with ExitStack() as stack:
        engines = {
            name: stack.enter_context(closing(OfflineEngine(config, image_size=1, seed=0)))
            for name, config in configs.items()
        }
        decode = measure_decode(engines, _DECODE_PROMPT, _DECODE_LENGTH)
        first = measure_first_token(engines, _FIRST_PROMPT)
    return [
        (
            *(name, f"{decode[name].tokens_per_s:.1f}", f"{decode[name].ratio:.2f}"),
            *(f"{1e3 * first[name].seconds:.1f}", f"{first[name].ratio:.2f}"),
        )
        for name in configs
    ]


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", metavar="MODEL", help="a plain checkpoint")
    parser.add_argument("--methods", default="int8,int4", help="all, or names (%(default)s)")
    parser.add_argument(
        "--beside", action="append", default=[], metavar="CHECKPOINT", help="a quantised one of it"
    )
    options = parser.parse_args(arguments)
    try:
        rows = speed_rows(contenders(options.model, options.methods, options.beside))
    except (ConfigError, UnsupportedModelError) as error:
        print(error, file=sys.stderr)
        return 2
    print(describe_machine())
    print_table([_HEADINGS, *rows])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
