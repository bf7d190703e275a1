"""HTML of what stays as it is while a server runs: its model, its kernels and its plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_FACTS = {
    "model": "Model",
    "device": "Device",
    "dtype": "Number format",
    "kv_cache_dtype": "Keys and values",
    "quantization": "Quantisation",
    "max_model_len": "Tokens of a sequence",
    "max_num_seqs": "Requests at once",
    "num_blocks": "KV blocks",
    "block_size": "Tokens of a block",
    "version": "Octavo",
}


def facts_view(info: Mapping[str, Any]) -> str:
    """info: as GET /info has it; "" if it holds nothing."""
    if not info:
        return ""
    facts = "".join(
        f"<div><dt>{label}</dt><dd>{_said(info[name])}</dd></div>"
        for name, label in _FACTS.items()
        if info.get(name) is not None
    )
    return (
        f'<section><h3>Server</h3><dl class="octavo-facts">{facts}</dl></section>'
        + _kernels(info.get("kernels") or ())
        + _plugins(info.get("plugins") or ())
    )


def _said(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else escape(str(value))


def _kernels(kernels: Sequence[Mapping[str, Any]]) -> str:
    if not kernels:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(kernel["op"])}</th><td>{escape(kernel["kernel"])}</td>'
        f"<td>{escape(kernel.get('why') or '')}</td></tr>"
        for kernel in kernels
    )
    return (
        f"<details><summary>Kernels <small>{len(kernels)}</small></summary><table>"
        '<thead><tr><th scope="col">Operation</th><th scope="col">Kernel</th>'
        f'<th scope="col">Why</th></tr></thead><tbody>{rows}</tbody></table></details>'
    )


def _plugins(plugins: Sequence[Mapping[str, Any]]) -> str:
    if not plugins:
        return ""
    refused = [plugin for plugin in plugins if plugin.get("error")]
    # Those that something is to be done about come first, and are seen without a click.
    told = "".join(
        f'<p class="octavo-trouble">Plugin {escape(plugin["name"])} ({escape(plugin["source"])}) '
        f"is refused: {escape(plugin['error'])}</p>"
        for plugin in refused
    )
    rows = "".join(
        f'<tr><th scope="row">{escape(plugin["name"])}</th><td>{escape(plugin["source"])}</td>'
        f"<td>{'<br>'.join(map(escape, plugin['brings'])) or _nothing(plugin)}</td></tr>"
        for plugin in plugins
    )
    return (
        f"{told}<details><summary>Plugins <small>{len(plugins)}</small></summary><table>"
        '<thead><tr><th scope="col">Plugin</th><th scope="col">From</th>'
        f'<th scope="col">Brings</th></tr></thead><tbody>{rows}</tbody></table></details>'
    )


def _nothing(plugin: Mapping[str, Any]) -> str:
    return "refused" if plugin.get("error") else "hooks"
