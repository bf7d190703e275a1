"""Writes the captions that `octavo bench accuracy` is held against.

    python -m octavo.bench.demo_captions FILE

transformers' own model and generation, in float32 and one question at a time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from ..app import DEMO_MODEL
from .accuracy import MAX_TOKENS, Question, all_questions, conversation

_library: Any = transformers


def transformers_captions(questions: Sequence[Question]) -> Iterator[str]:
    """What transformers answers, greedily."""
    processor = _library.AutoProcessor.from_pretrained(DEMO_MODEL)
    model = _library.LlavaForConditionalGeneration.from_pretrained(
        DEMO_MODEL, dtype=torch.float32
    ).eval()
    for question in questions:
        prompt = processor.apply_chat_template(conversation(question), add_generation_prompt=True)
        inputs = processor(
            images=question.drawing.draw(),
            text=prompt,
            return_tensors="pt",
            add_special_tokens=False,
        )
        with torch.inference_mode():
            ids = model.generate(**inputs, do_sample=False, max_new_tokens=MAX_TOKENS)
        answer = ids[0, inputs["input_ids"].shape[1] :]
        yield processor.decode(answer, skip_special_tokens=True)


if __name__ == "__main__":
    captions = list(transformers_captions(all_questions()))
    Path(sys.argv[1]).write_text(json.dumps(captions, indent=0) + "\n")
