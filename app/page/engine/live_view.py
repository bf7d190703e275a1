"""HTML of what changes from second to second."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from .engine_watch import Look
from .history import History, Rate, Sample, rate_lately
from .sparkline import shown_seconds, sparkline

#: Seconds over which a present rate is taken.
_LATELY_S = 5.0
_TILES = {
    "num_requests_running": "Running",
    "num_requests_waiting": "Waiting",
    "encoder_runs_total": "Images encoded",
    "texts_embedded_total": "Texts embedded",
    "num_preemptions_total": "Preemptions",
}
_PLOTS = {
    "generation_tokens_total": "Tokens out",
    "prompt_tokens_total": "Tokens in",
}
#: By state, as the strip has them.
_BLOCKS = ("used", "cached", "free")


def live_view(look: Look) -> str:
    """The sentence on what is wrong, if anything is, and the newest sample."""
    sample = look.history.newest
    parts = []
    if look.trouble:
        parts.append(f'<p class="octavo-trouble" role="status">{escape(look.trouble)}</p>')
    if sample is not None:
        stale = " octavo-stale" if look.trouble else ""
        body = _tiles(sample) + _strip(sample) + _plots(look.history) + _hit_rates(sample)
        parts.append(f'<div class="octavo-live{stale}" data-look="{look.number}">{body}</div>')
    return "".join(parts)


def _tiles(sample: Sample) -> str:
    tiles = "".join(
        f"<div><dt>{label}</dt><dd>{sample.values[name]:,.0f}</dd></div>"
        for name, label in _TILES.items()
        if name in sample.values
    )
    return f'<dl class="octavo-tiles">{tiles}</dl>'


def _strip(sample: Sample) -> str:
    blocks = {state: sample.blocks[state] for state in _BLOCKS if state in sample.blocks}
    total = sum(blocks.values())
    if not total:
        return ""
    counts = ", ".join(f"{count:,.0f} {state}" for state, count in blocks.items())
    parts = "".join(
        f'<span class="octavo-{state}" style="flex-grow:{count:.0f}"></span>'
        for state, count in blocks.items()
        if count
    )
    legend = "".join(
        f'<li><i class="octavo-{state}"></i>{state} <b>{count:,.0f}</b></li>'
        for state, count in blocks.items()
    )
    return (
        f"<section><h3>KV blocks <small>{total:,.0f}</small></h3>"
        f'<div class="octavo-strip" role="img" aria-label="KV blocks: {counts}">{parts}</div>'
        f'<ul class="octavo-legend">{legend}</ul></section>'
    )


def _plots(history: History) -> str:
    newest = history.newest
    assert newest is not None
    plots = {name: label for name, label in _PLOTS.items() if name in newest.values}
    if len(plots) < len(_PLOTS):
        plots["encoder_runs_total"] = "Images"  # of a server that writes none
    figures = (_plot(label, history.rates(name)) for name, label in plots.items())
    return f'<div class="octavo-plots">{"".join(figures)}</div>'


def _plot(label: str, rates: list[Rate]) -> str:
    now = rate_lately(rates, _LATELY_S)
    peak = max((rate.per_second for rate in rates), default=0.0)
    said = f"{label} a second: now {now:,.1f}, at most {peak:,.1f}"
    return (
        f"<figure><figcaption><span>{label} a second</span><b>{now:,.1f}</b></figcaption>"
        f"{sparkline(rates, said)}"
        f"<p><span>{_ago(shown_seconds(rates))}</span><span>peak {peak:,.1f}</span>"
        "<span>now</span></p></figure>"
    )


def _ago(seconds: float) -> str:
    return f"{seconds / 60:.0f} min ago" if seconds >= 90 else f"{seconds:.0f} s ago"


def _hit_rates(sample: Sample) -> str:
    """Since the server began."""
    values = sample.values
    rows = []
    if "prefix_cache_queries_total" in values:
        found, asked = values["prefix_cache_hits_total"], values["prefix_cache_queries_total"]
        rows.append(_hit_rate("Prefix cache", found, asked, "tokens"))
    for tier in _tiers(sample.hits, sample.misses):
        found = sample.hits.get(tier, 0)
        asked = found + sample.misses.get(tier, 0)
        rows.append(_hit_rate(f"Encoder cache, {escape(tier)}", found, asked, "images"))
    if not rows:
        return ""
    return (
        f'<section><h3>Found in caches</h3><dl class="octavo-hits">{"".join(rows)}</dl></section>'
    )


def _tiers(hits: Mapping[str, float], misses: Mapping[str, float]) -> list[str]:
    """The engine's memory first."""
    return sorted({*hits, *misses}, key=lambda tier: (tier != "memory", tier))


def _hit_rate(label: str, found: float, asked: float, unit: str) -> str:
    share = found / asked if asked else 0.0
    said = f"{share:.0%}" if asked else "–"
    return (
        f'<div><dt>{label}</dt><dd><b>{said}</b> <meter value="{share:.4f}" '
        f'aria-label="{label}, share found"></meter>'
        f"<small>{found:,.0f} of {asked:,.0f} {unit}</small></dd></div>"
    )
