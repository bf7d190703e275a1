"""What a model is calibrated on: pieces of texts, and pictures with a question."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoProcessor

from ...core.checkpoints.checkpoint import Checkpoint
from ...core.protocol.config import ConfigError

_library: Any = AutoProcessor
#: Texts of several kinds, as what is found on one kind holds less for others. All are in the public
#: domain, by authors who died long ago: tales, "Alice's Adventures in Wonderland" by Lewis Carroll
#: (1865) and two of "The Adventures of Sherlock Holmes" by Arthur Conan Doyle (1892); lectures,
#: "The Chemical History of a Candle" by Michael Faraday (1861); a pamphlet, "Common Sense" by
#: Thomas Paine (1776). A line for each paragraph.
_BUILT_IN = Path(__file__).with_name("texts")
_QUESTION = "Describe this picture in detail."
_TEXTS, _LINES = (".txt",), (".jsonl",)
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
#: Tokens of the shortest piece of text that is worth a pass.
_SHORTEST = 16

Sample = Mapping[str, Any]


@dataclass(frozen=True)
class Samples:
    """Inputs of transformers' model, each for one pass. num_pictures: how many show a picture."""

    inputs: list[Sample]
    num_pictures: int

    @property
    def num_tokens(self) -> int:
        """Of all samples."""
        return sum(sample["input_ids"].shape[1] for sample in self.inputs)


def read_samples(
    checkpoint: Checkpoint, source: Path | None, count: int, length: int, takes_images: bool
) -> Samples:
    """At most count samples, of at most length tokens where they are text: spread evenly over the
    source, a file or a folder, or the texts that come with Octavo.

    Raises ConfigError if that holds nothing to calibrate on.
    """
    files = _files(source) if source is not None else sorted(_BUILT_IN.glob("*.txt.xz"))
    pictures = [path for path in files if path.suffix.lower() in _PICTURES]
    if pictures and not takes_images:
        raise ConfigError(f"--calibration {source}: {checkpoint.name} takes no pictures")
    tokenizer = checkpoint.transformers_tokenizer()
    begin = _beginning(tokenizer)
    pieces = []
    for path in files:
        for document in _documents(path, tokenizer):
            ids = tokenizer(document, add_special_tokens=False)["input_ids"]
            step = length - len(begin)
            pieces += [begin + ids[at : at + step] for at in range(0, len(ids), step)]
    pieces = [piece for piece in pieces if len(piece) >= min(_SHORTEST, length)]
    shown = _spread(pictures, count // 2 if pieces else count)
    samples: list[Sample] = [
        {"input_ids": torch.tensor([p]), "attention_mask": torch.ones(1, len(p), dtype=torch.long)}
        for p in _spread(pieces, count - len(shown))
    ]
    if shown:
        processor = _library.from_pretrained(checkpoint.path)
        samples += [_asked(processor, path) for path in shown]
    if not samples:
        raise ConfigError(
            f"--calibration {source}: no text of {_SHORTEST} tokens and no picture is in it; it "
            f"takes files that end in {', '.join((*_TEXTS, *_LINES, *_PICTURES))}"
        )
    return Samples(samples, len(shown))


def _files(source: Path) -> list[Path]:
    if source.is_dir():
        known = (*_TEXTS, *_LINES, *_PICTURES)
        return sorted(p for p in source.rglob("*") if p.suffix.lower() in known and p.is_file())
    if not source.is_file():
        raise ConfigError(f"--calibration {source}: there is no such file or folder")
    return [source]


def _documents(path: Path, tokenizer: Any) -> Iterator[str]:
    kind = path.suffix.lower()
    if kind in _PICTURES:
        return
    if path.parent == _BUILT_IN:
        yield lzma.decompress(path.read_bytes()).decode()
        return
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"--calibration {path}: is no text in UTF-8") from error
    if kind not in _LINES:
        yield text
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield _document(f"--calibration {path}, line {number}", line, tokenizer)


def _document(place: str, line: str, tokenizer: Any) -> str:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{place}: is no JSON") from error
    if isinstance(record, dict) and isinstance(record.get("text"), str):
        return str(record["text"])
    if not isinstance(record, dict) or not isinstance(record.get("messages"), list):
        raise ConfigError(f'{place}: has neither a "text" nor "messages"')
    try:
        return str(tokenizer.apply_chat_template(record["messages"], tokenize=False))
    except Exception as error:
        raise ConfigError(f"{place}: its messages can't be rendered: {error}") from error


def _beginning(tokenizer: Any) -> list[int]:
    """Tokens that the tokenizer puts before a text."""
    marked = tokenizer("a")["input_ids"]
    (plain, *_) = tokenizer("a", add_special_tokens=False)["input_ids"]
    beginning: list[int] = marked[: marked.index(plain)]
    return beginning


def _spread(things: list[Any], count: int) -> list[Any]:
    """At most count of them, evenly."""
    if len(things) <= count:
        return things
    return [things[i * len(things) // count] for i in range(count)]


def _asked(processor: Any, path: Path) -> Sample:
    try:
        picture = Image.open(path).convert("RGB")
    except OSError as error:
        raise ConfigError(f"--calibration {path}: can't be read as a picture: {error}") from error
    content = [{"type": "image", "image": picture}, {"type": "text", "text": _QUESTION}]
    inputs: Sample = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    return inputs
