"""Batch captioning: pictures in, one JSON line each out, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from tqdm import tqdm

from ..core.engine.errors import RequestError
from .llm import LLM

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"}
_BATCH_SIZE = 64


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
    for group in _batches(files):
        readable, errors = [], {}
        for file in group:
            parts = [{"type": "image", "image": file}, {"type": "text", "text": prompt}]
            conversation = [{"role": "user", "content": parts}]
            try:
                readable.append((file, llm.prepare_chat(conversation, params)))
            except RequestError as error:
                errors[file] = str(error)
        outputs = llm.run([request for _, request in readable])
        texts = {
            file: output.outputs[0].text
            for (file, _), output in zip(readable, outputs, strict=True)
        }
        for file in group:
            yield Caption(str(file), texts.get(file), errors.get(file))


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


def _batches(files: Sequence[Path]) -> Iterator[Sequence[Path]]:
    for start in range(0, len(files), _BATCH_SIZE):
        yield files[start : start + _BATCH_SIZE]
