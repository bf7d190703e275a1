"""A result as figures and one HTML page that holds them all."""

from __future__ import annotations

import base64
import html
import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.contracts.specs import load_object
from ..core.protocol.config import ConfigError
from .result import Result, summary_rows

_DPI = 110
_STYLE = (
    "body{font-family:sans-serif;max-width:60em;margin:2em auto}"
    "td{padding:.1em 1em .1em 0;vertical-align:top}img{max-width:100%}"
)


def check_can_plot() -> None:
    """Raise ConfigError if there is no matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("--plot needs matplotlib: pip install 'octavo[bench]'")


def write_report(result: Result, folder: Path) -> list[Path]:
    """Write BENCHMARK-FIGURE.png for each figure, and BENCHMARK.html; returns their paths.

    Raises ConfigError if they can't be written.
    """
    # Loaded only here, as matplotlib is optional.
    figures = load_object(f"{__package__}.figures:figures_of")(result)
    name = result["benchmark"]
    images = {figure_name: _png(figure) for figure_name, figure in figures.items()}
    files = {f"{name}-{figure_name}.png": data for figure_name, data in images.items()}
    files[f"{name}.html"] = _page(result, images).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file_name, data in files.items():
            (folder / file_name).write_bytes(data)
    except OSError as error:
        raise ConfigError(f"--plot: {folder} can't be written: {error.strerror}") from error
    return [folder / file_name for file_name in files]


def _png(figure: Any) -> bytes:
    """Drawn by Agg, as a Figure without pyplot is."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()


def _page(result: Result, images: Mapping[str, bytes]) -> str:
    title = html.escape(f"octavo bench {result['benchmark']}, {result['date']}")
    encoded = {name: base64.b64encode(data).decode() for name, data in images.items()}
    shown = [
        f'<img alt="{html.escape(name)}" src="data:image/png;base64,{data}">'
        for name, data in encoded.items()
    ]
    return "\n".join(
        [
            f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>",
            f"<h1>{title}</h1><p><code>{html.escape(result['command'])}</code></p>",
            _table({row[0]: row[1] for row in summary_rows(result)}),
            *shown,
            "<h2>Machine</h2>",
            _table(result["machine"]),
            "<h2>Settings</h2>",
            _table(result["settings"]),
        ]
    )


def _table(values: Mapping[str, Any]) -> str:
    rows = (
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(str(value))}</td></tr>"
        for name, value in values.items()
    )
    return f"<table>{''.join(rows)}</table>"
