"""A counter's rate over the last minutes, as a small plot in SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .history import KEPT_S, Rate

_WIDTH, _HEIGHT = 300, 60
#: Seconds that a plot shows at least, so that a visit's first ones don't fill it.
_SHORTEST_S = 30.0


def shown_seconds(rates: Sequence[Rate]) -> float:
    """How far back a plot goes."""
    age = rates[-1].end - rates[0].start if rates else 0.0
    return min(max(age, _SHORTEST_S), KEPT_S)


def sparkline(rates: Sequence[Rate], label: str) -> str:
    """SVG: steps as high as the rates, from 0 to the highest, the newest at the right. label: what
    is read to those who don't see it."""
    steps = _steps(rates)
    shapes = ""
    if steps:
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in steps)
        area = f"{steps[0][0]:.1f},{_HEIGHT} {line} {steps[-1][0]:.1f},{_HEIGHT}"
        shapes = f'<polygon points="{area}"/><polyline points="{line}"/>'
    return (
        f'<svg class="octavo-sparkline" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'preserveAspectRatio="none" aria-label="{escape(label)}">{shapes}</svg>'
    )


def _steps(rates: Sequence[Rate]) -> list[tuple[float, float]]:
    """Corners, in the plot's units."""
    if not rates:
        return []
    newest, seconds = rates[-1].end, shown_seconds(rates)
    highest = max(rate.per_second for rate in rates) or 1.0

    def x(time: float) -> float:
        return _WIDTH * max(0.0, 1 - (newest - time) / seconds)

    def y(per_second: float) -> float:
        # A line at either edge is seen whole.
        return 1 + (_HEIGHT - 2) * (1 - per_second / highest)

    return [
        corner
        for rate in rates
        for corner in ((x(rate.start), y(rate.per_second)), (x(rate.end), y(rate.per_second)))
    ]
