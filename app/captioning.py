"""Batch captioning: pictures in, one JSON line each out, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from tqdm import tqdm

from ..core.engine.errors import RequestError
from ..core.engine.messages import EngineRequest
from .llm import LLM

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"}


class Caption(msgspec.Struct, omit_defaults=True):
    """One line of the output: a caption, or why there is none."""

    file: str
    caption: str | None = None
    error: str | None = None


def find_pictures(sources: Sequence[Path]) -> list[Path]:
    """The files named, and the pictures in the folders named. Raises RequestError if none."""
    found: list[Path] = []
    for source in sources:
        if source.is_dir():
            found += sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES)
        else:
            found.append(source)
    if not found:
        raise RequestError(f"no pictures ({', '.join(sorted(SUFFIXES))}) in the folders given")
    return found


def caption_files(
    llm: LLM, files: Sequence[Path], prompt: str, max_tokens: int
) -> Iterator[Caption]:
    """A caption for each file; a file that can't be read gets an error instead."""
    params = llm.default_sampling_params(max_tokens=max_tokens)

    def prepare(file: Path) -> EngineRequest:
        parts = [{"type": "image", "image": file}, {"type": "text", "text": prompt}]
        return llm.prepare_chat([{"role": "user", "content": parts}], params)

    for file, output in zip(files, llm.stream(files, prepare), strict=True):
        if isinstance(output, Exception):
            yield Caption(str(file), error=str(output))
        else:
            yield Caption(str(file), output.outputs[0].text)


def write_captions(
    llm: LLM, sources: Sequence[Path], output: Path, prompt: str, max_tokens: int
) -> int:
    """Caption everything into a JSONL file with a progress bar; returns how many failed."""
    files = find_pictures(sources)
    failed = 0
    with output.open("wb") as lines, tqdm(total=len(files), unit="image") as progress:
        for caption in caption_files(llm, files, prompt, max_tokens):
            failed += caption.error is not None
            lines.write(msgspec.json.encode(caption) + b"\n")
            progress.update()
    return failed
