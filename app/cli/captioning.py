"""Batch captioning: pictures in, one JSON line each out, in order."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path

import msgspec
from tqdm import tqdm

from ...core.protocol.errors import RequestError
from ...core.protocol.messages import EngineRequest
from ..offline.llm import LLM

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"}


class Caption(msgspec.Struct, omit_defaults=True):
    """One line of the output: a caption, or why there is none. Bytes of a file's name that are
    not UTF-8 stand as \\x and two digits."""

    file: str
    caption: str | None = None
    error: str | None = None


def find_pictures(sources: Sequence[Path]) -> list[Path]:
    """The files named, and the pictures in the folders named. Raises RequestError if none."""
    found: list[Path] = []
    for source in sources:
        if source.is_dir():
            inside = (p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES)
            found += sorted(p for p in inside if not p.is_dir())
        else:
            found.append(source)
    if not found:
        raise RequestError(f"no pictures ({', '.join(sorted(SUFFIXES))}) in the folders given")
    return found


def caption_files(
    llm: LLM, files: Sequence[Path], prompt: str, max_tokens: int
) -> Iterator[Caption]:
    """A caption for each file; one that can't be read, or is no regular file, gets an error
    instead."""
    params = llm.default_sampling_params(max_tokens=max_tokens)

    def prepare(file: Path) -> EngineRequest:
        if file.exists() and not file.is_file():  # a FIFO, say, may never end or even begin
            raise RequestError("it is not a regular file; copy the picture into one")
        parts = [{"type": "image", "image": file}, {"type": "text", "text": prompt}]
        return llm.prepare_chat([{"role": "user", "content": parts}], params)

    for file, output in zip(files, llm.stream(files, prepare), strict=True):
        if isinstance(output, Exception):
            yield Caption(_printable(str(file)), error=_printable(str(output)))
        else:
            yield Caption(_printable(str(file)), output.outputs[0].text)


def write_captions(
    llm: LLM, sources: Sequence[Path], output: Path, prompt: str, max_tokens: int
) -> int:
    """Caption everything into a JSONL file with a progress bar; returns how many failed.

    Raises RequestError if there is nothing to caption, or `check_output` does; OSError with the
    output's name if it can't be written, as on a full disk: what it has by then are whole lines.
    """
    files = find_pictures(sources)
    failed = 0
    with _open_output(output) as lines, tqdm(total=len(files), unit="image") as progress:
        for caption in caption_files(llm, files, prompt, max_tokens):
            failed += caption.error is not None
            _write_line(lines, msgspec.json.encode(caption) + b"\n", output)
            progress.update()
    return failed


def check_output(output: Path) -> None:
    """Raises RequestError if writing there would lose something: captions of another run, say."""
    if output.is_file() and output.stat().st_size:
        raise RequestError(
            f"{_printable(str(output))} exists and would be overwritten; delete it, or name "
            "another file with -o"
        )
    if output.is_dir() or not output.parent.is_dir():
        raise RequestError(f"{_printable(str(output))} can't be written: name a file in a folder")


def _open_output(output: Path) -> FileIO:
    check_output(output)
    try:
        # Without a buffer, so that a Ctrl-C or a full disk costs no caption that was made.
        return output.open("wb", buffering=0)
    except OSError as error:
        raise RequestError(
            f"{_printable(str(output))} can't be written: {error.strerror}"
        ) from error


def _write_line(file: FileIO, line: bytes, path: Path) -> None:
    """Whole or not at all."""
    written = 0
    try:
        while written < len(line):  # a full disk takes a part, and refuses the rest
            written += file.write(line[written:])
    except OSError as error:
        if written:
            file.truncate(file.tell() - written)
        raise OSError(error.errno, error.strerror, str(path)) from error


def _printable(text: str) -> str:
    """Without the lone surrogates that stand for bytes of file names which are not UTF-8."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")
