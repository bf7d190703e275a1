"""What a server without a page shows at its address: what it is, and how it is asked."""

from __future__ import annotations

import re
from html import escape

from starlette.requests import Request
from starlette.responses import Response

from ..loading import LoadedApp, LoadingApp
from .plain_page import plain_page

_RELOAD_S = 2
_HOST = re.compile(r"[\w.\-]+(:\d+)?|\[[0-9a-fA-F:.]+\](:\d+)?", re.ASCII)
_HOW_TO_GET_THE_PAGE = """\
<h2>A page to try it on</h2>
<p>Ask about pictures in the browser: start the server with <code>--ui</code>.</p>
<pre>pip install 'octavo[demo]'
octavo serve --ui</pre>
"""


def front_page(http: Request, loading: LoadingApp) -> Response:
    """As things are now; it comes anew by itself while the model loads."""
    loaded = loading.loaded
    model = f"<strong>{escape(loading.model_name)}</strong>"
    parts = [
        "<h1>Octavo</h1>\n",
        '<p class="soft">A server of vision-language models.</p>\n',
        f'<p role="status">{_state(model, loading)}</p>\n',
        _api(_address(http), loaded),
        _HOW_TO_GET_THE_PAGE,
    ]
    reload_after = _RELOAD_S if loaded is None else None
    return plain_page(f"Octavo: {loading.model_name}", "".join(parts), 200, reload_after)


def _state(model: str, loading: LoadingApp) -> str:
    if loading.loaded is None:
        return f"It is loading {model} and waits for {escape(loading.awaited)}."
    if not loading.loaded.alive():
        return f"It serves {model}, whose engine is restarting."
    return f"It serves {model} and is ready."


def _api(address: str, loaded: LoadedApp | None) -> str:
    base = escape(f"{address}/v1")
    html = (
        f"<h2>The API</h2>\n<p>It is like OpenAI's, at <code>{base}</code>; see "
        '<a href="/docs">/docs</a>, <a href="/v1/models">/v1/models</a>, '
        '<a href="/health">/health</a> and <a href="/metrics">/metrics</a>.</p>\n'
    )
    if loaded is None or loaded.example is None:
        return html
    if loaded.asks_key:
        html += '<p class="soft">All but <code>/health</code> asks for an API key.</p>\n'
    return f"{html}<pre>{escape(loaded.curl(address))}</pre>\n"


def _address(http: Request) -> str:
    """By which the browser has come, if it is one."""
    host = http.headers.get("host", "")
    if _HOST.fullmatch(host) is None:
        name, port = http.scope["server"]
        host = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    return f"{http.url.scheme}://{host}"
