"""One prompt of a job: what is asked of each picture, and how."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ....core.contracts.grammars import GrammarError, GrammarSource
from ....core.protocol.request_error import RequestError
from ....core.protocol.sampling_params import GREEDY_TEMPERATURE
from ..picture import PictureError
from ..task import Question
from .examples import Example
from .picture_facts import PictureFacts
from .prompt_fields import (
    DEFAULT_MAX_TOKENS,
    DEFAULT_MAX_TOKENS_OF_JSON,
    Label,
    check_sampling,
    form_of,
    postprocess_of,
    sampling_of,
)
from .template import Template

_Message = Mapping[str, Any]


class Prompt:
    """fields: of prompt_fields, read. label: what they are called in errors. Raises RequestError
    for a template that can't be, or that an example picture can't fill."""

    def __init__(
        self, name: str, fields: Mapping[str, Any], examples: Sequence[Example], label: Label
    ) -> None:
        self.name = name
        self._schema_label = label("schema")
        self.postprocess = postprocess_of(fields)
        self.num_examples = len(examples)
        self._text = Template(fields["text"], label("text"))
        self._system = Template(fields["system"], label("system")) if "system" in fields else None
        self._choices: tuple[str, ...] = fields.get("choices", ())
        self._form = form_of(fields, label)
        most = DEFAULT_MAX_TOKENS if self._form is None else DEFAULT_MAX_TOKENS_OF_JSON
        self._sampling = {"max_tokens": most, **sampling_of(fields)}
        check_sampling(self._sampling, label)
        self._seed = self._sampling.pop("seed", _default_seed(self._sampling))
        self._asked = [self._ask(example, label("examples")) for example in examples]
        self._turns: list[_Message] = [
            message
            for example, asked in zip(examples, self._asked, strict=True)
            for message in (
                _user({"type": "image_url", "image_url": {"url": example.url}}, asked),
                {"role": "assistant", "content": example.answer},
            )
        ]
        self.facts = self._facts(fields, examples)

    def check_columns(self, known: Collection[str]) -> None:
        """Raises RequestError if it asks for another column than these."""
        for template in self._templates:
            template.check_columns(known)

    def check_schema(self, check: Callable[[GrammarSource], None]) -> None:
        """Raises RequestError if answers can't be kept to its schema. check: GrammarBackend's."""
        if self._form is not None:
            try:
                check(self._form.source)
            except GrammarError as error:
                raise RequestError(f"{self._schema_label}: {error}") from error

    def question(self, facts: PictureFacts, digest: str) -> Question:
        """For a picture. Raises PictureError if that lacks what a template asks for."""
        messages: list[_Message] = []
        if self._system is not None:
            messages.append({"role": "system", "content": self._system.render(facts)})
        messages += self._turns
        messages.append(_user({"type": "image"}, self._text.render(facts)))
        sampling = self._sampling_for(digest)
        return Question(self.name, tuple(messages), sampling, self._choices, self._form)

    @property
    def _templates(self) -> list[Template]:
        return [self._text] if self._system is None else [self._text, self._system]

    def _ask(self, example: Example, label: str) -> str:
        """The text beside an example picture."""
        if example.text is not None:
            return example.text
        try:
            return self._text.render(example.facts)
        except PictureError as error:
            raise RequestError(
                f"{label}: {error}; or give the example a text of its own, in a file of prompts"
            ) from error

    def _sampling_for(self, digest: str) -> dict[str, Any]:
        if self._seed is None:
            return dict(self._sampling)
        return {**self._sampling, "seed": _seed_for(self._seed, digest, self.name)}

    def _facts(self, fields: Mapping[str, Any], examples: Sequence[Example]) -> dict[str, Any]:
        names = ("text", "system", "choices", "schema")
        given = {name: fields[name] for name in names if name in fields}
        sampling = self._sampling | ({} if self._seed is None else {"seed": self._seed})
        shown = [
            {"digest": example.digest, "text": asked, "answer": example.answer}
            for example, asked in zip(examples, self._asked, strict=True)
        ]
        return {
            **{name: _plain(value) for name, value in {**given, **sampling}.items()},
            **{name: _plain(value) for name, value in vars(self.postprocess).items() if value},
            **({"examples": shown} if shown else {}),
        }


def _user(image: _Message, text: str) -> _Message:
    """Captioners may be asked nothing at all."""
    parts = [image, {"type": "text", "text": text}] if text else [image]
    return {"role": "user", "content": parts}


def _default_seed(sampling: Mapping[str, Any]) -> int | None:
    """None if the likeliest token is always chosen. Where no temperature was given, the model's own
    may draw, too."""
    temperature = sampling.get("temperature")
    return None if temperature is not None and temperature < GREEDY_TEMPERATURE else 0


def _seed_for(seed: int, digest: str, name: str) -> int:
    """The same in each run, whatever else runs and in whatever order. In 31 bits, which every
    server takes."""
    hashed = hashlib.sha256(f"{seed}\0{digest}\0{name}".encode()).digest()
    return int.from_bytes(hashed[:4]) >> 1


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value
