"""The tab "Engine"."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..server.server_api import ServerApi
from .engine_watch import EngineWatch
from .facts_view import facts_view
from .live_view import live_view

#: Asks for a new look every second while someone can see it: neither in another tab of the page's
#: nor in one of the browser's that is not shown.
_ASK_WHILE_SEEN = """
let last = -Infinity;
const timer = setInterval(() => {
  if (!element.isConnected) { clearInterval(timer); return; }
  const seen = document.visibilityState === "visible" && element.getClientRects().length > 0;
  if (seen && Date.now() - last >= 1000) { last = Date.now(); trigger('tick'); }
}, 100);
"""


def engine_tab(server: ServerApi) -> None:
    """Its components, within the tab that is open."""
    watch = EngineWatch(server)
    live = gr.HTML(
        "<p>Looking at the engine…</p>",
        js_on_load=_ASK_WHILE_SEEN,
        elem_classes="octavo-engine",
    )
    facts = gr.HTML("", elem_classes="octavo-engine", js_on_load=None)
    shown = gr.State("")

    async def look(shown: str) -> tuple[Any, Any, str]:
        """Facts are sent when they have changed only: whoever reads in them is not disturbed."""
        seen = await watch.look()
        known = facts_view(seen.info)
        return live_view(seen), gr.skip() if known == shown else known, known

    live.tick(
        look,
        shown,
        [live, facts, shown],
        show_progress="hidden",
        queue=False,
        api_visibility="private",
    )
