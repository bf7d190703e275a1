"""Small pages without a script or a file beside them."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from starlette.responses import HTMLResponse

_STYLE = """
:root { color-scheme: light dark; --text: #1e293b; --soft: #475569; --ground: #f8fafc;
  --box: #fff; --line: #e2e8f0; --link: #0f766e; }
@media (prefers-color-scheme: dark) { :root { --text: #e2e8f0; --soft: #94a3b8;
  --ground: #0f172a; --box: #1e293b; --line: #334155; --link: #2dd4bf; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 8vh 1.25rem 3rem; background: var(--ground); color: var(--text);
  font: 1rem/1.6 ui-sans-serif, system-ui, sans-serif; }
main { max-width: 40rem; margin: 0 auto; }
h1 { margin: 0; font-size: 1.75rem; line-height: 1.2; }
h2 { margin: 2rem 0 .5rem; font-size: 1.05rem; }
p { margin: .5rem 0; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
a { color: var(--link); }
ul { margin: .5rem 0; padding-left: 1.25rem; }
code, pre { font: .875rem/1.6 ui-monospace, Consolas, monospace; }
pre { margin: .5rem 0; padding: .75rem 1rem; background: var(--box); border: 1px solid var(--line);
  border-radius: .5rem; white-space: pre-wrap; overflow-wrap: anywhere; }
"""
#: Nothing of elsewhere, whatever a name holds.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


def plain_page(
    title: str,
    body: str,
    status: int = 200,
    reload_after: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    """title: text. body: HTML. reload_after: seconds, of a page that will soon be another."""
    reload = "" if reload_after is None else f'<meta http-equiv="refresh" content="{reload_after}">'
    html = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'{reload}<title>{escape(title)}</title><link rel="icon" href="/favicon.ico">'
        f"<style>{_STYLE}</style></head>\n<body><main>\n{body}</main></body></html>\n"
    )
    safe = {
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    return HTMLResponse(html, status, {**safe, **(headers or {})})
