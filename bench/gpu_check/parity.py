"""Greedy answers of small models on the device beside transformers' on the same device, in float32,
where a difference is a fault and no rounding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ...app import DEMO_MODEL
from ...app.offline.llm import LLM
from ...app.verify.cases import make_cases
from ...app.verify.comparison import Finding
from ...app.verify.reference import Reference
from ...app.verify.verify import verify_case
from ...core.checkpoints.find_checkpoint import find_checkpoint
from .rounded_twin import save_rounded_twin

_MAX_TOKENS = 16


@dataclass(frozen=True)
class Subject:
    """A model as Octavo serves it. reference: the checkpoint that transformers computes."""

    name: str
    model: str
    reference: str
    quantization: str | None = None


def compare_models(device: str, text_model: str, folder: Path) -> dict[str, Any]:
    """By model: what was compared, and whether nothing differs. text_model: a plain language model;
    folder: for the checkpoints that are made."""
    compared = {}
    for subject in _subjects(text_model, folder):
        findings = list(_findings(subject, device))
        compared[subject.name] = {
            "agrees": bool(findings) and all(found.result == "ok" for found in findings),
            "findings": [asdict(found) for found in findings],
        }
    return compared


def _subjects(text_model: str, folder: Path) -> Iterator[Subject]:
    yield Subject("text", text_model, text_model)
    yield Subject("picture", DEMO_MODEL, DEMO_MODEL)
    for method in ("int8", "int4"):
        twin = folder / method
        save_rounded_twin(text_model, method, twin)
        yield Subject(method, text_model, str(twin), method)


def _findings(subject: Subject, device: str) -> Iterator[Finding]:
    checkpoint = find_checkpoint(subject.reference)
    reference = Reference(checkpoint, torch.float32, torch.device(device))
    settings: dict[str, Any] = {
        "device": device,
        "dtype": "float32",
        "quantization": subject.quantization,
        "max_model_len": 1024,
        "max_num_seqs": 4,
    }
    with LLM(subject.model, **settings) as llm:
        for case in make_cases(reference.takes_images, []):
            yield from verify_case(llm, reference, case, _MAX_TOKENS, torch.float32)
