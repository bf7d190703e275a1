"""The tab "Search": pictures by a text or another picture, if the model gives embeddings."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import gradio as gr

from ..frame.visits import VISITS
from ..parts.picture_drop import picture_drop, read_picture
from ..parts.picture_parts import unplaced
from ..parts.sentence import sentence
from ..server.server_api import ServerApi, ServerError
from .picture_index import PictureIndex, embedding
from .search_html import CSS, progress_html, state_html


def search_tab(server: ServerApi) -> None:
    """Its components, within the tab that is open."""
    index = gr.State(PictureIndex())
    with gr.Row():
        files = gr.File(label="Pictures to search", file_count="multiple", height=170, scale=3)
        with gr.Column(min_width=200, scale=1):
            folder = gr.UploadButton("Add a folder", file_count="directory", size="md")
            clear = gr.Button("Forget all", size="md")
    state = gr.HTML(state_html(PictureIndex()), css_template=CSS)
    with gr.Row(equal_height=True):
        text = gr.Textbox(
            label="Search for", placeholder="a dog in the snow", scale=4, min_width=200
        )
        count = gr.Slider(1, 48, 12, step=1, label="Most results", scale=2, min_width=200)
    search = gr.Button("Search", variant="primary", size="md")
    with gr.Accordion("Search by a picture", open=False):
        query = picture_drop("Pictures like this one", 220)
        search_like = gr.Button("Search for pictures like it", size="md")
    found = gr.Gallery(
        label="Found, with the cosine of both embeddings",
        show_label=False,
        elem_classes="found",
        object_fit="contain",
        height="auto",
        interactive=False,
        visible=False,
        buttons=["fullscreen"],
    )

    async def add(
        paths: Sequence[str] | None, known: PictureIndex, request: gr.Request
    ) -> AsyncGenerator[tuple[Any, str, PictureIndex]]:
        VISITS.keep(request.session_hash, paths or ())
        name = await _model(server)
        # The component is emptied, ready for more.
        async with aclosing(known.add(server, name, map(str, paths or ()))) as adding:
            async for done, total in adding:
                yield None, progress_html(done, total), known
        yield None, state_html(known), known

    async def forget() -> tuple[PictureIndex, str, Any]:
        return PictureIndex(), state_html(PictureIndex()), gr.update(value=None, visible=False)

    async def show_nearest(given: Any, known: PictureIndex, most: float) -> Any:
        if not known.vectors:
            raise _refusal("There is nothing to search yet: add pictures first.")
        try:
            vector = await embedding(server, await server.model(), given)
        except ServerError as error:
            raise _refusal(error) from error
        best = known.nearest(vector, int(most))
        if not best:
            raise _refusal("The pictures are no longer kept, after an hour: add them again.")
        shown = [(path, f"{score:.3f}  {Path(path).name}") for path, score in best]
        return gr.update(value=shown, visible=True)

    async def by_text(words: str, known: PictureIndex, most: float) -> Any:
        if not words.strip():
            raise _refusal("Write what to search for first.")
        return await show_nearest(words, known, most)

    async def by_picture(
        path: str | None, known: PictureIndex, most: float, request: gr.Request
    ) -> Any:
        if path is None:
            raise _refusal("Choose the picture to search by first.")
        VISITS.keep(request.session_hash, [path])
        try:
            part = await read_picture(path)
        except ServerError as error:
            raise _refusal(error) from error
        return await show_nearest(part, known, most)

    everyone: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None}
    for source in (files, folder):
        source.upload(add, [source, index], [source, state, index], **everyone)
    clear.click(forget, None, [index, state, found], **everyone)
    gr.on([search.click, text.submit], by_text, [text, index, count], found, **everyone)
    search_like.click(by_picture, [query, index, count], found, **everyone)


async def _model(server: ServerApi) -> str:
    try:
        return await server.model()
    except ServerError as error:
        raise _refusal(error) from error


def _refusal(why: object) -> Exception:
    made: Exception = gr.Error(sentence(unplaced(why)), print_exception=False)
    return made
