"""Writes the folder that is shipped: weights in bfloat16, configs, tokenizer, concepts."""

import json
import shutil
import tempfile
from pathlib import Path

import torch
from concepts import load_concepts
from transformers import LlavaForConditionalGeneration, LlavaProcessor


def write_concepts(folder: Path) -> None:
    """Writes `concepts.json`: each name with its synonyms."""
    table = {concept.name: list(concept.synonyms) for concept in load_concepts()}
    text = json.dumps(table, indent=1, ensure_ascii=False) + "\n"
    (folder / "concepts.json").write_text(text, encoding="utf-8")


def export(model: LlavaForConditionalGeneration, processor: LlavaProcessor, folder: Path) -> None:
    """Writes everything beside `folder` first and moves it file by file into place."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        staged = Path(made)
        processor.save_pretrained(staged)
        model.to(torch.bfloat16).save_pretrained(staged)
        write_concepts(staged)
        for path in sorted(staged.iterdir()):
            shutil.copymode(__file__, path)
            path.replace(folder / path.name)
