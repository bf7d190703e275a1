"""All that is asked of each picture of a job."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ....core.contracts.grammars import GrammarSource
from ....core.protocol.media_limits import MediaLimits
from ....core.protocol.request_error import RequestError
from ... import DEFAULT_PROMPT
from ..picture import Picture, printable
from ..task import Question
from .examples import read_example
from .picture_facts import PictureFacts
from .prompt import Prompt
from .prompt_fields import OWN, SHARED, Label, read_fields
from .prompt_file import read_prompt_file, read_schema
from .typed_prompts import add_choices, add_examples, option, read_typed

DEFAULT_NAME = "caption"
#: What outputs call something else.
RESERVED_NAMES = frozenset(
    (
        *("file", "path", "name", "url", "content", "error", "width", "height", "digest"),
        *("duplicate_of", "finish_reason", "prompt_tokens", "completion_tokens"),
    )
)
_LIMITS = MediaLimits()


class PromptSet:
    """Made by `from_options` from what is typed, or by `of` from Python's own data. All of it has
    been checked then, and example pictures have been read."""

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        self._prompts = {prompt.name: prompt for prompt in prompts}

    @classmethod
    def of(
        cls,
        prompts: str | Mapping[str, str | Mapping[str, Any]] = DEFAULT_PROMPT,
        limits: MediaLimits = _LIMITS,
        **shared: Any,
    ) -> PromptSet:
        """prompts: a text, whose answer is named "caption"; or by name texts, or tables of a text
        and other fields. shared: fields for each prompt that has none of its own: system,
        max_tokens, temperature, strip and so on; SHARED has all. limits: to example pictures.

        Raises RequestError, which names the field at fault.
        """
        tables = {DEFAULT_NAME: prompts} if isinstance(prompts, str) else prompts
        defaults = read_fields(shared, SHARED, str)
        return cls(_make(_read_tables(tables, "prompts"), defaults, {}, _fields_of(""), limits))

    @classmethod
    def from_options(
        cls,
        prompts: Sequence[str] = (),
        file: Path | None = None,
        choices: Sequence[str] = (),
        examples: Sequence[str] = (),
        schema: Path | None = None,
        limits: MediaLimits = _LIMITS,
        **shared: Any,
    ) -> PromptSet:
        """From options as they are typed: each prompt TEXT or NAME=TEXT, choices A,B,C or
        NAME=A,B,C, examples IMAGE=ANSWER, a file with a JSON Schema. shared: as in `of`, but that
        they win over what a file says; None is not given.

        Raises RequestError, which names the option, or the file and the field, at fault.
        """
        if file is not None and prompts:
            raise RequestError("--prompt and --prompts are both given; move the text into the file")
        given = {name: value for name, value in shared.items() if value is not None}
        if schema is not None:
            given["schema"] = read_schema(schema)
        overrides = read_fields(given, SHARED, option)
        if file is not None:
            tables, defaults = _read_file(file)
            label_of = _fields_of(f"{printable(str(file))}: ")
        else:
            typed = read_typed(prompts or [DEFAULT_PROMPT], DEFAULT_NAME)
            tables, defaults, label_of = _read_tables(typed, "--prompt"), {}, _options_of
        add_choices(tables, choices)
        add_examples(tables, examples)
        folder = Path() if file is None else file.parent
        return cls(_make(tables, defaults, overrides, label_of, limits, folder))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the prompts, in order."""
        return tuple(self._prompts)

    @property
    def max_images(self) -> int:
        """In one question: the picture, and the examples before it."""
        return 1 + max(prompt.num_examples for prompt in self._prompts.values())

    @property
    def facts(self) -> dict[str, Any]:
        """By the name of the prompt, all that changes its answers; plain data, as JSON has it."""
        return {name: prompt.facts for name, prompt in self._prompts.items()}

    def check_columns(self, known: Collection[str]) -> None:
        """Where the columns of the source are known before it is read, or it has none. Raises
        RequestError for a template that asks for another."""
        for prompt in self._prompts.values():
            prompt.check_columns(known)

    def check_schemas(self, check: Callable[[GrammarSource], None]) -> None:
        """Raises RequestError if answers can't be kept to a schema. check: GrammarBackend's."""
        for prompt in self._prompts.values():
            prompt.check_schema(check)

    def questions(self, picture: Picture, digest: str, data: bytes) -> tuple[Question, ...]:
        """What is asked of a picture. digest, data: of its file.

        Raises PictureError if it lacks what a template asks for.
        """
        facts = PictureFacts(picture, data)
        return tuple(prompt.question(facts, digest) for prompt in self._prompts.values())

    def finish(self, name: str, text: str) -> str:
        """The answer to a prompt, post-processed."""
        return self._prompts[name].postprocess(text)


def _make(
    tables: Mapping[str, Mapping[str, Any]],
    defaults: Mapping[str, Any],
    overrides: Mapping[str, Any],
    label_of: Callable[[str], Label],
    limits: MediaLimits,
    folder: Path = Path(),
) -> list[Prompt]:
    """label_of: for the name of a prompt. folder: of example pictures."""
    pictures: dict[Path, bytes] = {}
    prompts = []
    for name, table in tables.items():
        label = label_of(name)
        own = read_fields(table, {**OWN, **SHARED}, label)
        if "text" not in own:
            raise RequestError(f"{label('text')} is missing: what is asked")
        examples = [
            read_example(given, folder, limits, f"{label('examples')}[{i}]", pictures)
            for i, given in enumerate(own.get("examples", ()))
        ]
        prompts.append(Prompt(name, {**defaults, **own, **overrides}, examples, label))
    return prompts


def _read_file(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Prompts, and the fields for all of them."""
    given = read_prompt_file(path)
    where = f"{printable(str(path))}: "
    tables = given.pop("prompts", None)
    if not isinstance(tables, Mapping):
        raise RequestError(f"{where}needs prompts, a table of texts by their names")
    read = _read_tables(tables, f"{where}prompts")
    return read, read_fields(given, SHARED, lambda name: f"{where}{name}")


def _read_tables(given: Mapping[Any, Any], where: str) -> dict[str, dict[str, Any]]:
    """A text alone is a table with that."""
    if not given:
        raise RequestError(f"{where}: there is no prompt; give one")
    tables: dict[str, dict[str, Any]] = {}
    for name, value in given.items():
        _check_name(name, where)
        if not isinstance(value, str | Mapping):
            raise RequestError(f"{where}: {name} must be a text or a table with a text")
        tables[name] = {"text": value} if isinstance(value, str) else dict(value)
    return tables


def _check_name(name: Any, where: str) -> None:
    if not isinstance(name, str) or not name.isidentifier():
        raise RequestError(
            f"{where}: {name!r} can't name a prompt; letters, digits and underscores can, in "
            "quotes where a word such as yes means another thing"
        )
    if name in RESERVED_NAMES:
        raise RequestError(
            f"{where}: {name} can't name a prompt, as outputs have another field of that name; "
            f"name it otherwise, such as my_{name}"
        )


def _fields_of(where: str) -> Callable[[str], Label]:
    """Labels of a file's fields."""
    return lambda prompt: lambda field: f"{where}prompts.{prompt}.{field}"


def _options_of(prompt: str) -> Label:
    """Labels of what was typed."""
    names = {"text": f"--prompt {prompt}", "examples": "--example"}
    return lambda field: names.get(field, option(field))
