"""The results page, in Markdown.

    python -m octavo.bench.peers.page RESULTS.json … > PAGE.md

prints several runs on one page. Ratios are of one run only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from .results import EngineResult, GroupResult, MachineLimits, RunResult
from .workloads import WORKLOADS

_OURS = "Octavo"
#: Beyond this, others took enough of the machine to be named.
_QUIET_CORES = 0.1
_TITLES = {
    "smollm2-135m": "SmolLM2-135M",
    "smolvlm-256m": "SmolVLM-256M's shape",
    "llava-1.5": "LLaVA-1.5's shape, CLIP ViT-L/14 at 336 pixels",
    "llama-1b": "Llama-3.2-1B's shape",
}
_CAPTION = (
    "Ratios are Octavo's figure over the other's: below 1 it is better in times and memory, above "
    "1 in rates. Figures are medians. Floors are what the linear layers alone must take at the "
    "machine's rates. Ready is from the start of the process. Memory is the most that was resident "
    "of the process and its children, and what those share counts for each."
)


@dataclass(frozen=True)
class Column:
    """A figure of each engine. work: empty for the engine as a whole."""

    title: str
    work: str
    metric: str
    higher_is_better: bool = False

    def value(self, engine: EngineResult) -> float | None:
        """None where it was not measured."""
        return engine.figure(self.work, self.metric)

    def floor(self, group: GroupResult) -> float | None:
        """None where there is none."""
        return group.floors.get(self.work, {}).get(self.metric)

    def best(self, engines: Iterable[EngineResult]) -> tuple[float, str] | None:
        """The best figure, and whose it is."""
        figures = [(value, e.name) for e in engines if (value := self.value(e)) is not None]
        return (max if self.higher_is_better else min)(figures) if figures else None


_COLUMNS = (
    Column("T1 first token ms", "t1", "ttft_ms"),
    Column("T1 decode tok/s", "t1", "decode_tok_s", higher_is_better=True),
    Column("T2 tok/s", "t2", "out_tok_s", higher_is_better=True),
    Column("T3 wall s", "t3", "wall_s"),
    Column("P1 first token ms", "p1", "ttft_ms"),
    Column("V1 s", "v1", "wall_s"),
    Column("V1 first token ms", "v1", "ttft_ms"),
    Column("same image again ms", "v1", "again_ms"),
    Column("V1 decode tok/s", "v1", "decode_tok_s", higher_is_better=True),
    Column("V2 req/s", "v2", "req_s", higher_is_better=True),
    Column("D1 first token ms", "d1", "ttft_ms"),
    Column("D1 decode tok/s", "d1", "decode_tok_s", higher_is_better=True),
    Column("peak MiB", "", "peak_mib"),
    Column("ready s", "", "ready_s"),
)


def render(runs: Sequence[RunResult]) -> str:
    """The whole page."""
    return "\n".join(line for run in runs for line in _render_run(run)) + "\n"


def read_run(path: Path) -> RunResult:
    """What a run wrote. Raises OSError, or msgspec.DecodeError for another file."""
    return msgspec.json.decode(path.read_bytes(), type=RunResult)


def _render_run(run: RunResult) -> Iterator[str]:
    yield "## Octavo beside other engines"
    yield f"\n{run.machine}; {run.date}\n\n```\n{run.command}\n```"
    yield f"\n{_limits(run.limits)}"
    yield f"\n{_CAPTION}"
    for group in run.groups:
        yield f"\n### {_TITLES.get(group.model, group.model)}, {group.precision}\n"
        yield from _table(_rows(group))
        yield from _notes(group)


def _limits(limits: MachineLimits) -> str:
    return (
        f"The machine reads memory at {limits.read_bytes_s / 1e9:.1f} GB/s, and torch multiplies "
        f"matrices at {limits.float32_flops / 1e9:,.0f} GFLOP/s in float32 and at "
        f"{limits.bfloat16_flops / 1e9:,.0f} in bfloat16."
    )


def _rows(group: GroupResult) -> Iterator[list[str]]:
    """A header, the engines, the floor, and Octavo's ratios."""
    columns = [c for c in _COLUMNS if any(c.value(e) is not None for e in group.engines)]
    yield ["", *(column.title for column in columns)]
    for engine in group.engines:
        name = " ".join(part for part in (engine.name, engine.version, engine.precision) if part)
        yield [name, *(_figure(column.value(engine)) for column in columns)]
    yield ["*floor*", *(_figure(column.floor(group)) for column in columns)]
    ours = next((engine for engine in group.engines if engine.name == _OURS), None)
    if ours is None:
        return
    peers = [engine for engine in group.engines if engine is not ours]
    yield ["**Octavo ÷ best peer**", *(_to_best(c, ours, peers) for c in columns)]
    yield ["**Octavo ÷ floor**", *(_ratio(c.value(ours), c.floor(group)) for c in columns)]


def _to_best(column: Column, ours: EngineResult, peers: Sequence[EngineResult]) -> str:
    best = column.best(peers)
    if best is None:
        return "–"
    ratio = _ratio(column.value(ours), best[0])
    return ratio if ratio == "–" else f"{ratio} ({best[1]})"


def _ratio(figure: float | None, base: float | None) -> str:
    return f"{figure / base:.2f}×" if figure is not None and base else "–"


def _figure(value: float | None) -> str:
    """Three digits, or all before the point."""
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for i, row in enumerate(rows):
        yield f"| {' | '.join(row)} |"
        if i == 0:
            yield "|---" * len(row) + "|"


def _notes(group: GroupResult) -> Iterator[str]:
    """What went wrong, what others took of the machine, and prompts that were not alike."""
    for engine in group.engines:
        errors = {"start": engine.error, **{n: w.error for n, w in engine.works.items()}}
        for name, error in errors.items():
            if error is not None:
                yield f"\n{engine.name} failed at {name.upper()}: {' '.join(error.split())[:300]}"
    foreign = max((w.foreign_cores for e in group.engines for w in e.works.values()), default=0)
    if foreign > _QUIET_CORES:
        yield f"\nThe machine was not idle: others used up to {foreign:.1f} cores meanwhile."
    for name, workload in WORKLOADS.items():
        counts = {
            e.name: e.works[name].prompt_tokens
            for e in group.engines
            if workload.distinct_images and name in e.works and e.works[name].prompt_tokens
        }
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{engine} {count}" for engine, count in counts.items())
            yield f"\nPrompts of {name.upper()} differ in tokens: {told}."


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a page of runs that were saved; returns the exit status."""
    parser = argparse.ArgumentParser(prog="octavo.bench.peers.page")
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS.json")
    options = parser.parse_args(arguments)
    try:
        runs = [read_run(path) for path in options.results]
    except (OSError, msgspec.DecodeError) as error:
        print(f"page: the results can't be read: {error}", file=sys.stderr)
        return 2
    print(render(runs), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
