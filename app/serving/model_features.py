"""What requests may ask of a model, as GET /v1/models tells it."""

from __future__ import annotations

from ...core.prompts.input_processor import InputProcessor
from ...core.prompts.responses.answer_reader import AnswerReader


def model_features(inputs: InputProcessor, answers: AnswerReader | None) -> list[str]:
    """By names that don't change: chat (it has a chat template), structured_outputs (answers in a
    form), tools (calls are found in answers), forced_tools (`tool_choice` may make calls of
    answers), strict_tools (calls that are no must keep to schemas), reasoning (thoughts are told
    apart)."""
    tokenizer = inputs.tokenizer
    reads_calls = answers is not None and answers.template.reads_calls
    found = {
        "chat": bool(tokenizer.chat_template_text),
        "structured_outputs": inputs.takes_forms,
        "tools": tokenizer.takes_tools and reads_calls,
        "forced_tools": tokenizer.takes_tools and inputs.takes_forms,
        "strict_tools": tokenizer.takes_tools
        and answers is not None
        and answers.call_form is not None,
        "reasoning": answers is not None and answers.template.reads(calls=False),
    }
    return [name for name, has in found.items() if has]
