"""Chooses how a model's answers are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...checkpoints.checkpoint import Checkpoint
from ...contracts.specs import JsonDict, ResponseTemplateSpec
from ...protocol.config import ConfigError
from ...registry.registry import Registry
from ..tokenizer import Tokenizer
from .answer_reader import AnswerReader
from .response_template import ResponseTemplate

_THOUGHTS = "reasoning_content"


def find_answer_reader(
    wanted: str, checkpoint: Checkpoint, tokenizer: Tokenizer, registry: Registry
) -> AnswerReader | None:
    """wanted: see `response_template` of EngineConfig. None if answers are to be told as they are.
    Raises ConfigError."""
    template = _find_template(wanted, checkpoint, tokenizer, registry)
    if template is None:
        return None
    reader = AnswerReader(template, tokenizer)
    reader.prepare()
    return reader


def _find_template(
    wanted: str, checkpoint: Checkpoint, tokenizer: Tokenizer, registry: Registry
) -> ResponseTemplate | None:
    if wanted == "none":
        return None
    if wanted in registry.response_templates:
        spec = registry.response_templates[wanted]
        return ResponseTemplate(wanted, spec.template, spec.call_form)
    if wanted != "auto":
        return ResponseTemplate(wanted, _read_file(wanted, registry))
    own = checkpoint.response_template
    if own is not None:
        return ResponseTemplate("the checkpoint's response_template", own)
    written = tokenizer.chat_template_text
    fitting = [
        s for s in registry.response_templates.values() if all(m in written for m in s.marks)
    ]
    if not fitting:
        return None
    # The one that says most of how the model writes.
    spec = max(fitting, key=lambda spec: len("".join(spec.marks)))
    return ResponseTemplate(spec.name, _of_this_model(spec, written), spec.call_form)


def _of_this_model(spec: ResponseTemplateSpec, written: str) -> dict[str, Any]:
    """Without thoughts, where the chat template knows no mark of them: not every model of a family
    has them, and others may write of such marks."""
    fields: Mapping[str, Mapping[str, Any]] = spec.template["fields"]
    mark = fields.get(_THOUGHTS, {}).get("open", "")
    return {
        "fields": {k: f for k, f in fields.items() if k != _THOUGHTS or mark.strip() in written}
    }


def _read_file(path: str, registry: Registry) -> JsonDict:
    try:
        template = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        known = ", ".join(("auto", "none", *sorted(registry.response_templates)))
        raise ConfigError(
            f"--response-template {path}: neither one of {known}, nor a file of JSON: {error}"
        ) from error
    if not isinstance(template, dict):
        raise ConfigError(f"--response-template {path}: must hold a JSON object")
    return template
