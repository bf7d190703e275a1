"""What is taken of texts, as the tokenizer itself has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from octavo.app import DEMO_MODEL
from octavo.app.quantize.samples import read_samples
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from transformers import AutoTokenizer

TOKENIZER: Any = AutoTokenizer.from_pretrained(DEMO_MODEL)


def ids_of(source: Path | None, count: int, length: int) -> list[list[int]]:
    samples = read_samples(find_checkpoint(DEMO_MODEL), source, count, length, takes_images=True)
    assert samples.num_pictures == 0
    assert samples.num_tokens == sum(sample["input_ids"].shape[1] for sample in samples.inputs)
    return [sample["input_ids"][0].tolist() for sample in samples.inputs]


def test_pieces_are_spread_over_a_text(tmp_path: Path) -> None:
    text = " ".join(f"number {i}" for i in range(300))
    (tmp_path / "text.txt").write_text(text)
    alone = TOKENIZER("a", add_special_tokens=False)["input_ids"]
    begin = TOKENIZER("a")["input_ids"][: -len(alone)]
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    step = 40 - len(begin)
    pieces = [begin + ids[at : at + step] for at in range(0, len(ids), step)]
    pieces = [piece for piece in pieces if len(piece) >= 16]
    found = ids_of(tmp_path / "text.txt", 4, 40)
    assert found == [pieces[i * len(pieces) // 4] for i in range(4)]
    assert ids_of(tmp_path / "text.txt", 10**6, 40) == pieces


def test_lines_of_json(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "Which numbers are even, and which are odd? " * 3}]
    lines = [{"text": "One sentence of many words, and then another. " * 3}, {"messages": messages}]
    path = tmp_path / "lines.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rendered = TOKENIZER.apply_chat_template(messages, tokenize=False)
    first, second = ids_of(path, 8, 512)
    assert first == TOKENIZER(lines[0]["text"])["input_ids"]
    wanted = TOKENIZER(rendered, add_special_tokens=False)["input_ids"]
    assert second[-len(wanted) :] == wanted


def test_the_texts_that_come_along_are_enough() -> None:
    pieces = ids_of(None, 64, 512)
    assert [len(piece) for piece in pieces].count(512) >= 63
    words = " ".join(TOKENIZER.decode(piece) for piece in pieces)
    assert all(word in words for word in ("Alice", "Holmes", "candle", "government"))
    assert "Martian" not in words, "what is measured is no text to calibrate on"
