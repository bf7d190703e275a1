"""The tab "Caption many": some hundred pictures or a zip of them, captioned several at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import gradio as gr

from ... import DEFAULT_PROMPT
from ..frame.visits import VISITS
from ..parts.sampling_settings import sampling_of, sampling_settings
from ..server.server_api import ServerApi, ServerError
from .album import MAX_PICTURES, Album, State
from .byte_budget import ByteBudget
from .caption_run import CaptionRun
from .captions_table import CSS, PROGRESS_CSS, TEMPLATE, progress_line, table_rows
from .downloads import delete_downloads, write_downloads
from .dropped_files import DroppedFile, drop_zone, pictures_in
from .thumbnails import make_thumbnails

#: Bytes of files that are in memory to be sent, for all visitors; each takes about five times its
#: size on the way.
_BUDGET = 32 * 2**20
_DOWNLOADS = ("JSONL", "CSV", "Sidecars (zip)")

Shown = dict[Any, Any]


class _Visit(Album):
    """run: what runs, if anything does. rate, fault: of the last one that ended."""

    run: CaptionRun | None = None
    rate: float | None = None
    fault: str | None = None


def caption_many_tab(server: ServerApi) -> None:
    """Its components, within the tab that is open."""
    tab = _Tab(server)
    tab.listen()


class _Tab:
    """Handlers give what is to be shown by component."""

    def __init__(self, server: ServerApi) -> None:
        self._server = server
        self._budget = ByteBudget(_BUDGET)
        self._visit = gr.State(_Visit(), delete_callback=delete_downloads)
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                self._drop = drop_zone(
                    label=f"Up to {MAX_PICTURES} pictures, or a zip",
                    height=180,
                )
                self._prompt = gr.Textbox(DEFAULT_PROMPT, label="Prompt", lines=2, max_lines=8)
                self._settings = sampling_settings()
                with gr.Row():
                    self._start = gr.Button(
                        "Caption", variant="primary", size="md", scale=2, min_width=96
                    )
                    self._stop = gr.Button("Stop", size="md", interactive=False, min_width=72)
                    self._clear = gr.Button("Clear", size="md", interactive=False, min_width=72)
            with gr.Column(scale=3, min_width=300):
                self._progress = gr.HTML(
                    progress_line(Album()),
                    css_template=PROGRESS_CSS,
                    apply_default_css=False,
                    js_on_load=None,
                )
                with gr.Row(visible=False) as self._files:
                    self._downloads = [
                        gr.DownloadButton(label, interactive=False, size="sm", min_width=96)
                        for label in _DOWNLOADS
                    ]
                self._table = gr.HTML(
                    [],
                    html_template=TEMPLATE,
                    css_template=CSS,
                    apply_default_css=False,
                    js_on_load=None,
                    visible=False,
                )

    def listen(self) -> None:
        """To all that a visitor does."""
        shown = [self._progress, self._table, self._start, self._stop, self._clear, self._files]
        quietly: dict[str, Any] = {
            "show_progress": "hidden",
            "concurrency_limit": None,
            "api_visibility": "private",
        }
        self._drop.upload(
            self._add,
            [self._visit, self._drop],
            [self._drop, *shown],
            trigger_mode="multiple",
            **quietly,
        ).then(self._make_thumbnails, self._visit, self._table, **quietly)
        self._start.click(
            self._caption,
            [self._visit, self._prompt, *self._settings],
            [*shown, *self._downloads],
            **quietly,
        )
        self._stop.click(self._end, self._visit, **quietly)
        self._clear.click(self._forget, self._visit, [*shown, *self._downloads], **quietly)

    async def _add(self, visit: _Visit, files: list[DroppedFile], request: gr.Request) -> Shown:
        VISITS.keep(request.session_hash, (file.path for file in files))
        entries, visit.notices = await asyncio.to_thread(pictures_in, files)
        visit.add(entries)
        return {self._drop: None, **self._all_of(visit)}

    async def _make_thumbnails(self, visit: _Visit) -> AsyncIterator[Shown]:
        async with aclosing(make_thumbnails(visit)) as made:
            async for _ in made:
                yield self._rows_of(visit)
        yield self._rows_of(visit)

    async def _caption(self, visit: _Visit, prompt: str, *settings: Any) -> AsyncIterator[Shown]:
        if visit.run is not None:
            return
        sampling = await self._checked(visit, prompt, settings)
        visit.begin((prompt, tuple(sampling.items())))
        visit.run = run = CaptionRun(self._server, visit, self._budget, prompt, sampling)
        try:
            yield {**self._all_of(visit), **self._no_downloads()}
            async with aclosing(run.updates()) as updates:
                async for _ in updates:
                    yield self._progress_of(visit)
        finally:
            visit.rate, visit.fault, visit.run = run.rate, run.fault, None
        written = await asyncio.to_thread(write_downloads, visit, self._drop.GRADIO_CACHE)
        offered = self._no_downloads()
        if written is not None:
            for button, path in zip(self._downloads, written, strict=True):
                offered[button] = gr.update(value=path, interactive=True)
        yield {**self._all_of(visit), **offered}

    async def _checked(self, visit: _Visit, prompt: str, settings: Any) -> dict[str, Any]:
        """How answers are drawn, the model included. Raises gr.Error."""
        if not visit.entries:
            raise gr.Error("Drop pictures or a zip archive of them first.", print_exception=False)
        if not prompt.strip():
            raise gr.Error("Write a prompt first.", print_exception=False)
        try:
            models = await self._server.models()
        except ServerError as error:
            raise gr.Error(str(error), print_exception=False) from error
        model = {"model": models[0]["id"]} if models else {}
        return {**sampling_of(settings), **model}

    async def _end(self, visit: _Visit) -> None:
        if visit.run is not None:
            visit.run.stop()

    async def _forget(self, visit: _Visit) -> Shown:
        if visit.run is None:
            visit.clear()
            visit.rate = visit.fault = None
            delete_downloads(visit)
        return {**self._all_of(visit), **self._no_downloads()}

    def _rows_of(self, visit: _Visit) -> Shown:
        # What runs shows them too, and two that show the table might swap their turns.
        return {self._table: table_rows(visit) if visit.run is None else gr.skip()}

    def _progress_of(self, visit: _Visit) -> Shown:
        run = visit.run
        rate = visit.rate if run is None else run.rate
        fault = visit.fault if run is None else None
        return {
            self._progress: progress_line(visit, rate, fault),
            self._table: gr.update(value=table_rows(visit), visible=bool(visit.entries)),
        }

    def _all_of(self, visit: _Visit) -> Shown:
        runs = visit.run is not None
        label = "Caption"
        if visit.count(State.CAPTIONED):
            label = f"Go on ({visit.num_missing} left)" if visit.num_missing else "Caption again"
        return {
            **self._progress_of(visit),
            self._start: gr.update(value="Caption" if runs else label, interactive=not runs),
            self._stop: gr.update(interactive=runs),
            self._clear: gr.update(interactive=bool(visit.entries) and not runs),
            self._files: gr.update(visible=bool(visit.entries)),
        }

    def _no_downloads(self) -> Shown:
        return {button: gr.update(value=None, interactive=False) for button in self._downloads}
