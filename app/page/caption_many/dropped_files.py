"""Files as they were dropped on the page -> pictures of an album."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import gradio as gr
from gradio.data_classes import ListFiles

from ...captioning.picture import FileAt, PictureError
from ...captioning.sources.formats import HEAD, check_picture
from .album import Entry
from .entries import entry_of, unreadable
from .zip_listing import pictures_in_zip


class DroppedFile(NamedTuple):
    """path: of Gradio's copy. name: that the visitor's file has, whatever is in it."""

    path: str
    name: str


def drop_zone(**options: Any) -> Any:
    """A gr.File whose value is a list of DroppedFile. Gradio's own makes other names of those that
    files have, and an empty temporary file for each that nobody deletes. No class of its own, as
    Gradio writes a .pyi file beside the module of each."""
    zone = gr.File(file_count="multiple", **options)
    zone.preprocess = _dropped
    return zone


def _dropped(payload: ListFiles | None) -> list[DroppedFile]:
    files = [] if payload is None else list(payload)
    return [DroppedFile(file.path, file.orig_name or "") for file in files]


def pictures_in(files: list[DroppedFile]) -> tuple[list[Entry], list[str]]:
    """Those of zip archives too, and sentences about what was left out."""
    entries: list[Entry] = []
    notices: list[str] = []
    for file in files:
        name = os.path.basename(file.name) or os.path.basename(file.path)
        if name.lower().endswith(".zip"):
            found, said = pictures_in_zip(file.path, name)
            entries += found
            notices += said
        else:
            entries.append(_entry(file.path, name))
    return entries, notices


def _entry(path: str, name: str) -> Entry:
    try:
        with open(path, "rb") as file:
            check_picture(file.read(HEAD), name, was_named=True)
        return entry_of(name, name, FileAt(path), os.path.getsize(path))
    except PictureError as error:
        return unreadable(name, str(error))
    except OSError as error:
        return unreadable(name, f"it can't be read: {error.strerror or error}")
