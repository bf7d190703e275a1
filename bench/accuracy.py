"""`octavo bench accuracy`: what a model says of a fixed set of pictures, so that a faster kernel
that answers worse is seen."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..app import DEMO_MODEL
from ..app.offline.llm import LLM
from ..core.checkpoints.find_checkpoint import find_checkpoint
from ..core.protocol.config import EngineConfig
from ..core.protocol.sampling_params import SamplingParams
from .drawings import Drawing, all_drawings
from .result import Result, new_result

_CAPTIONS = Path(__file__).with_name("demo_captions.json")
MAX_TOKENS = 24


@dataclass(frozen=True)
class Question:
    """kind: "thing", "colour" or "background"; words: any of which makes an answer right."""

    drawing: Drawing
    kind: str
    text: str
    words: tuple[str, ...]

    def is_answered_by(self, caption: str) -> bool:
        """Whether one of the words stands in it as a whole word."""
        return any(re.search(rf"\b{re.escape(word)}\b", caption.lower()) for word in self.words)


def all_questions() -> list[Question]:
    """Three about each drawing, in the order of the captions that are kept for them."""
    synonyms = json.loads((Path(DEMO_MODEL) / "concepts.json").read_text())
    questions = []
    for drawing in all_drawings():
        thing, colour, background = drawing.thing, drawing.colour, drawing.background
        questions += [
            Question(drawing, "thing", "What is this?", (thing, *synonyms[thing])),
            Question(drawing, "colour", f"What color is the {thing}?", (colour,)),
            Question(drawing, "background", "What color is the background?", (background,)),
        ]
    return questions


def reference_captions() -> list[str]:
    """What transformers answers with the demo model in float32, greedily; see
    `demo_captions.py`."""
    captions: list[str] = json.loads(_CAPTIONS.read_text())
    return captions


def run(config: EngineConfig, num_questions: int | None) -> Result:
    """Ask the first num_questions, or all. exact_match: the share of captions that are
    transformers' own to the letter, None for other models than the demo model; word_accuracy:
    of those that name the right thing or colour.

    Raises ConfigError or UnsupportedModelError if the model can't be loaded, RequestError if it
    takes no images.
    """
    result = new_result("accuracy", {"num_questions": num_questions, "engine": asdict(config)})
    questions = all_questions()[:num_questions]
    captions, right = ask(config, questions)
    is_demo = find_checkpoint(config.model, config.mmproj).path == Path(DEMO_MODEL)
    references = reference_captions()[: len(captions)] if is_demo else None
    same = [c == r for c, r in zip(captions, references, strict=True)] if references else None
    return {
        **result,
        "num_captions": len(captions),
        "exact_match": _share(same) if same else None,
        "word_accuracy": _share(right),
        **_by_kind(questions, right),
        "captions": [
            {
                **asdict(question.drawing),
                "question": question.text,
                "caption": caption,
                "reference": references[i] if references else None,
                "right": right[i],
            }
            for i, (question, caption) in enumerate(zip(questions, captions, strict=True))
        ],
    }


def ask(config: EngineConfig, questions: Sequence[Question]) -> tuple[list[str], list[bool]]:
    """A model's captions, and which of them name the right thing or colour. Raises as `run`."""
    params = SamplingParams(temperature=0, max_tokens=MAX_TOKENS)
    with LLM(**asdict(config)) as llm:
        answers = llm.chat([conversation(question) for question in questions], params)
    captions = [answer.outputs[0].text for answer in answers]
    right = [q.is_answered_by(c) for q, c in zip(questions, captions, strict=True)]
    return captions, right


def conversation(question: Question) -> list[dict[str, Any]]:
    """The question after its picture."""
    parts = [
        {"type": "image", "image": question.drawing.draw()},
        {"type": "text", "text": question.text},
    ]
    return [{"role": "user", "content": parts}]


def _by_kind(questions: Sequence[Question], right: Sequence[bool]) -> Result:
    kinds = dict.fromkeys(question.kind for question in questions)
    return {
        f"word_accuracy_{kind}": _share(
            [ok for question, ok in zip(questions, right, strict=True) if question.kind == kind]
        )
        for kind in kinds
    }


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags)
