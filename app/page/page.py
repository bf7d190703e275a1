"""All of the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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

_CHAT = "a model that chats"
_EMBEDS = "a model that embeds"
_ANY = "any model"
#: What each makes sense for.
_TABS: tuple[tuple[str, Callable[[ServerApi], None], str], ...] = (
    ("Ask", ask_tab, _CHAT),
    ("Caption many", caption_many_tab, _CHAT),
    ("Compare", compare_tab, _CHAT),
    ("Search", search_tab, _EMBEDS),
    ("Engine", engine_tab, _ANY),
)
#: Seconds, of files that were dropped on the page and whose visitor has not said goodbye.
_FILES_LIVE = 3600
_LOOK_EVERY = 300
#: Seconds between looks at the server.
_PACE = 20
_PACE_WHILE_WAITING = 3


@dataclass(frozen=True)
class _Seen:
    """By a visitor. can: whether the model chats, and embeds, as the tabs are for; most do the one,
    so that its tabs are there before it is known."""

    status: ServerStatus | None = None
    can: tuple[bool, bool] = (True, False)


def build_page(server: ServerApi) -> gr.Blocks:
    """To be mounted. Files that are dropped on it are in Gradio's cache until a visit ends."""
    watch = StatusWatch(server)
    with gr.Blocks(
        title="Octavo", analytics_enabled=False, delete_cache=(_LOOK_EVERY, _FILES_LIVE)
    ) as page:
        seen = gr.State(_Seen())
        head = gr.HTML(header(None), elem_id="octavo-head")
        timer = gr.Timer(_PACE_WHILE_WAITING)
        made = []
        with gr.Tabs() as tabs:
            for label, make, needs in _TABS:
                with gr.Tab(label, id=label, visible=needs != _EMBEDS) as tab:
                    make(server)
                made.append(tab)

        async def look(before: _Seen) -> list[Any]:
            status = await watch.look()
            if status == before.status:
                return [gr.skip() for _ in outputs]
            ready = status.condition is Condition.READY
            # While it isn't known what the model can do, the tabs are as they were.
            can = (bool(status.chats), bool(status.embeds)) if ready else before.can
            fitting = [gr.skip() for _ in (tabs, *made)] if can == before.can else _fitting(*can)
            pace = _PACE if ready else _PACE_WHILE_WAITING
            return [_Seen(status, can), header(status), gr.Timer(pace), *fitting]

        outputs = [seen, head, timer, tabs, *made]
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


def _fitting(chats: bool, embeds: bool) -> list[Any]:
    """Updates of the tabs, and of which is open."""
    can = {_CHAT: chats, _EMBEDS: embeds, _ANY: True}
    shown = [can[needs] for _, _, needs in _TABS]
    first = next(label for (label, _, _), there in zip(_TABS, shown, strict=True) if there)
    return [gr.Tabs(selected=first), *(gr.Tab(visible=there) for there in shown)]
