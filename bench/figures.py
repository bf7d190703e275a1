"""Figures of results. Importing this needs matplotlib, which the extra octavo[bench] brings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .result import Result

_SIZE_INCHES = (7.0, 4.0)
_BINS = 50


def figures_of(result: Result) -> dict[str, Figure]:
    """By name, those that the result's benchmark has."""
    drawn = {}
    for name, draw in _DRAWN[result["benchmark"]].items():
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        draw(figure.add_subplot(), result)
        drawn[name] = figure
    return drawn


def _latencies(axes: Axes, result: Result) -> None:
    """How many requests had their first token, and their end, within a time."""
    curves = {"first token": result["ttfts"], "end": result["latencies"]}
    for label, seconds in curves.items():
        done = [s * 1000 for s in seconds if s is not None]
        if done:
            axes.ecdf(done, label=label)
    axes.set(xlabel="milliseconds from arrival", ylabel="share within", title="latency")
    _legend(axes)


def _gaps(axes: Axes, result: Result) -> None:
    """Time between tokens."""
    axes.hist([gap * 1000 for gaps in result["itls"] for gap in gaps], bins=_BINS)
    axes.set(xlabel="milliseconds", ylabel="tokens", title="inter-token latency", yscale="log")


def _over_time(axes: Axes, result: Result) -> None:
    """TTFT by arrival: it rises where the server falls behind."""
    points = [
        (arrival, ttft * 1000)
        for arrival, ttft in zip(result["arrival_times"], result["ttfts"], strict=True)
        if ttft is not None
    ]
    axes.scatter([x for x, _ in points], [y for _, y in points], s=8)
    axes.set(xlabel="arrival, seconds", ylabel="milliseconds", title="time to first token")


def _rates(axes: Axes, result: Result) -> None:
    names = ("output_throughput", "total_token_throughput")
    _bars(axes, {name: result[name] for name in names}, "tokens a second")


def _starts(axes: Axes, result: Result) -> None:
    starts = result["starts"]
    labels = ["cold", *(f"warm {i}" for i in range(1, len(starts)))]
    _bars(axes, dict(zip(labels, (s["first_answer_s"] for s in starts), strict=True)), "seconds")
    axes.bar(labels, [start["healthy_s"] for start in starts], label="until healthy")
    axes.set(title="from spawning to the first answer")
    _legend(axes)


def _sources(axes: Axes, result: Result) -> None:
    columns = result["ttfts"]
    axes.boxplot([[s * 1000 for s in column] for column in columns.values()])
    axes.set_xticks(range(1, len(columns) + 1), list(columns))
    axes.set(ylabel="milliseconds", title="time to first token by where features come from")


def _memory(axes: Axes, result: Result) -> None:
    sizes = result["engine_mib"]
    axes.plot(range(len(sizes)), sizes, marker="o")
    axes.set(xlabel="quarters of the images", ylabel="engine MiB", ylim=(0, None), title="memory")


def _accuracy(axes: Axes, result: Result) -> None:
    shares = {k: v for k, v in result.items() if "accuracy" in k or k == "exact_match"}
    _bars(axes, {k: v for k, v in shares.items() if isinstance(v, float)}, "share")
    axes.set(ylim=(0, 1), title="captions")


def _divergences(axes: Axes, result: Result) -> None:
    """What each method loses, over the bits that it takes."""
    for table in result["models"]:
        rows = [row for row in table["rows"] if row["kl_divergence"]]
        bits = [row["bits_per_weight"] for row in rows]
        axes.plot(bits, [row["kl_divergence"] for row in rows], "o", label=table["model"])
        for row in rows:
            axes.annotate(row["method"], (row["bits_per_weight"], row["kl_divergence"]))
    axes.set(xlabel="bits a weight", ylabel="KL to bfloat16", ylim=(0, None), title="methods")
    _legend(axes)


def _ratios(axes: Axes, result: Result) -> None:
    """Each pair's ratio, and their mean."""
    _ratio_points(axes, {k: m["log_ratios"] for k, m in result["metrics"].items()}, "")
    for place, metric in enumerate(result["metrics"].values()):
        axes.plot([metric["ratio"]], [place], "k|", markersize=24)
    axes.axvline(1 + result["settings"]["min_effect"], color="tab:red", linestyle="--")


def _all_ratios(axes: Axes, result: Result) -> None:
    """All pairs of a self-check."""
    for run in result["runs"]:
        colour = "tab:red" if run["slowdown"] else "tab:blue"
        _ratio_points(axes, run["log_ratios"], colour)


def _ratio_points(axes: Axes, log_ratios: Mapping[str, Sequence[float]], colour: str) -> None:
    for place, values in enumerate(log_ratios.values()):
        ratios = [math.exp(value) for value in values]
        axes.scatter(ratios, [place] * len(ratios), s=14, color=colour or None, alpha=0.6)
    axes.axvline(1, color="grey")
    axes.set_yticks(range(len(log_ratios)), list(log_ratios))
    axes.set(xlabel="new / base, seconds", title="ratio of each pair")


def _bars(axes: Axes, values: Mapping[str, float], unit: str) -> None:
    bars = axes.bar(list(values), list(values.values()))
    axes.bar_label(bars, fmt="%.3g")
    axes.tick_params(axis="x", labelsize=8)
    axes.set(ylabel=unit)


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend()


_DRAWN: dict[str, dict[str, Callable[[Axes, Result], None]]] = {
    "throughput": {"throughput": _rates},
    "latency": {"latency": _latencies, "itl": _gaps},
    "serve": {"latency": _latencies, "itl": _gaps, "ttft-over-time": _over_time},
    "startup": {"startup": _starts},
    "encoder-cache": {"ttft": _sources, "memory": _memory},
    "accuracy": {"accuracy": _accuracy},
    "accuracy-methods": {"divergence": _divergences},
    "compare": {"ratios": _ratios},
    "self-check": {"ratios": _all_ratios},
}
