"""All of the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from .ask.ask_tab import ask_tab
from .caption_many.caption_many_tab import caption_many_tab
from .compare.compare_tab import compare_tab
from .engine.engine_tab import engine_tab
from .frame.header import header
from .frame.visits import VISITS
from .search.search_tab import search_tab
from .server.server_api import ServerApi
from .server.server_status import Condition, ServerStatus, StatusWatch

#: What a model can't do, its server says in a sentence where it is asked for.
_TABS: tuple[tuple[str, Callable[[ServerApi], None]], ...] = (
    ("Ask", ask_tab),
    ("Caption many", caption_many_tab),
    ("Compare", compare_tab),
    ("Search", search_tab),
    ("Engine", engine_tab),
)
#: Seconds, of files that were dropped on the page and whose visitor has not said goodbye.
_FILES_LIVE = 3600
_LOOK_EVERY = 300
#: Seconds between looks at the server.
_PACE = 20
_PACE_WHILE_WAITING = 3


def build_page(server: ServerApi) -> gr.Blocks:
    """To be mounted. Files that are dropped on it are in Gradio's cache until a visit ends."""
    watch = StatusWatch(server)
    with gr.Blocks(
        title="Octavo", analytics_enabled=False, delete_cache=(_LOOK_EVERY, _FILES_LIVE)
    ) as page:
        seen = gr.State(None)
        head = gr.HTML(header(None), elem_id="octavo-head")
        timer = gr.Timer(_PACE_WHILE_WAITING)
        # None of them in a menu, however narrow the screen is.
        with gr.Tabs(overflow_behavior="wrap"):
            for label, make in _TABS:
                with gr.Tab(label):
                    make(server)

        async def look(before: ServerStatus | None) -> list[Any]:
            status = await watch.look()
            if status == before:
                return [gr.skip() for _ in outputs]
            ready = status.condition is Condition.READY
            pace = _PACE if ready else _PACE_WHILE_WAITING
            return [status, header(status), gr.Timer(pace)]

        outputs = [seen, head, timer]
        for event in (page.load, timer.tick):
            event(
                look, seen, outputs, queue=False, show_progress="hidden", api_visibility="private"
            )
        page.load(_begin_visit, None, None, queue=False, api_visibility="private")
        page.unload(_end_visit)
    # Nobody waits for another visitor: what a server can do at once is for it to say.
    page.queue(default_concurrency_limit=None)
    return page


async def _begin_visit(request: gr.Request) -> None:
    VISITS.begin(request.session_hash)


async def _end_visit(request: gr.Request) -> None:
    VISITS.end(request.session_hash)
