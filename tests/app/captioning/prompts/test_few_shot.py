"""Few-shot prompts on the demo model, against the same conversation written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from octavo import LLM
from octavo.app.captioning.picture import FileAt, Picture
from octavo.app.captioning.prompts.prompt_set import PromptSet
from PIL import Image

IMAGES = Path(__file__).parents[4] / "examples" / "images"
QUESTION = "What is in this picture?"


def shown(messages: tuple[Mapping[str, Any], ...], path: Path) -> list[dict[str, Any]]:
    """With the picture in its place, as what answers does it."""
    (place,) = [part for m in messages for part in m["content"] if part == {"type": "image"}]
    assert place is messages[-1]["content"][0]
    *before, last = messages
    content = [{"type": "image", "image": path}, *last["content"][1:]]
    return [dict(m) for m in before] + [{"role": "user", "content": content}]


def test_it_is_the_conversation_that_one_would_write(offline: LLM) -> None:
    prompts = PromptSet.of(
        {
            "caption": {
                "text": QUESTION,
                "examples": [
                    {"image": str(IMAGES / "dog.png"), "answer": "A dog."},
                    {"image": str(IMAGES / "car.png"), "answer": "A car."},
                ],
            }
        },
        system="You are terse.",
        temperature=0,
        max_tokens=8,
    )
    path = IMAGES / "pizza.png"
    (question,) = prompts.questions(Picture(str(path), FileAt(str(path))), "00", path.read_bytes())
    params = offline.default_sampling_params(**question.sampling)
    (output,) = offline.chat(shown(question.messages, path), params, use_tqdm=False)

    conversation: list[dict[str, Any]] = [{"role": "system", "content": "You are terse."}]
    for name, answer in (("dog", "A dog."), ("car", "A car."), ("pizza", None)):
        image = {"type": "image", "image": Image.open(IMAGES / f"{name}.png")}
        content = [image, {"type": "text", "text": QUESTION}]
        conversation.append({"role": "user", "content": content})
        if answer is not None:
            conversation.append({"role": "assistant", "content": answer})
    (by_hand,) = offline.chat(conversation, params, use_tqdm=False)
    assert output.prompt_token_ids == by_hand.prompt_token_ids
    assert output.outputs[0].text == by_hand.outputs[0].text != ""

    written = offline.get_tokenizer().decode(output.prompt_token_ids).replace("<image>", "")
    turn = f"<|user|>{QUESTION}<|end|><|assistant|>"
    assert written.removeprefix("<s>") == (
        f"<|system|>You are terse.<|end|>{turn}A dog.<|end|>{turn}A car.<|end|>{turn}"
    )


def test_what_is_drawn_is_drawn_again_in_whatever_order(offline: LLM) -> None:
    prompts = PromptSet.of({"a": QUESTION, "b": "What colour is it?"}, temperature=1, max_tokens=8)

    def answers(names: list[str], together: bool) -> dict[tuple[str, str], str]:
        paths = [IMAGES / f"{name}.png" for name in names]
        asked = [
            (path, question)
            for path in paths
            for question in prompts.questions(
                Picture(str(path), FileAt(str(path))), path.stem, path.read_bytes()
            )
        ]
        conversations = [shown(question.messages, path) for path, question in asked]
        params = [offline.default_sampling_params(**question.sampling) for _, question in asked]
        if together:
            outputs = offline.chat(conversations, params, use_tqdm=False)
        else:
            outputs = [
                output
                for conversation, one in zip(conversations, params, strict=True)
                for output in offline.chat(conversation, one, use_tqdm=False)
            ]
        return {
            (path.stem, question.name): output.outputs[0].text
            for (path, question), output in zip(asked, outputs, strict=True)
        }

    first = answers(["dog", "car", "pizza"], together=True)
    assert first == answers(["pizza", "dog", "car"], together=False)
    assert len(set(first.values())) > 1
