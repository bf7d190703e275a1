"""A model in this process answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from ....core.contracts.specs import load_object
from ....core.protocol.config import EngineConfig
from ....core.protocol.constraints.token_automaton import TokenAutomaton
from ....core.protocol.errors import RequestError
from ....core.protocol.messages import EngineRequest
from ....core.protocol.outputs import RequestOutput
from ..picture import Picture
from ..task import Answer, Captioned, Failed, Outcome, Question, Task
from .backend import Read
from .shown_pictures import with_pictures

if TYPE_CHECKING:  # what is checked before a model is loaded needs no torch
    from ....core.prompts.responses.answer_reader import AnswerReader
    from ...offline.llm import LLM


#: Threads that read pictures, as disks and networks are to be waited for by several; of these as
#: many decode at a time as there are processors for it.
_READERS = 16


class LocalBackend:
    """See Backend. facts: of the model; see `model_facts`."""

    def __init__(self, config: EngineConfig, facts: dict[str, Any]) -> None:
        self._config = config
        self.facts = facts
        self._llm: LLM | None = None
        self._draining = False

    def start(self) -> None:
        """Load the model, if it isn't. Raises as LLM does."""
        self._draining = False
        if self._llm is None:
            llm_class = load_object("octavo.app.offline.llm:LLM")
            self._llm = llm_class(**asdict(self._config))
            self._llm.prepare_tokenizer()
            _ = self._llm.thought_reader  # before threads ask for it

    def run(self, pictures: Iterable[Picture | None], read: Read) -> Iterator[Outcome]:
        """See Backend."""
        if self._llm is None:
            self.start()
        llm = self._llm
        assert llm is not None
        automaton_of = cache(llm.choices_automaton)
        processors = llm.share_processors()

        def prepare(picture: Picture) -> tuple[Task | Outcome, Sequence[EngineRequest]]:
            task = read(picture)
            if not isinstance(task, Task):
                return task, []
            try:
                with processors.prepare():
                    return task, _requests(llm, task, automaton_of)
            except RequestError as error:
                return Failed(picture, _without_place(error), task), []

        def is_enough() -> bool:
            return self._draining

        groups = llm.stream_groups(pictures, prepare, processors, is_enough, _READERS)
        for context, outputs in groups:
            yield _outcome(llm, context, outputs) if isinstance(context, Task) else context

    def drain(self) -> None:
        """See Backend."""
        self._draining = True

    def progress(self) -> dict[str, float]:
        """Requests that run, and images whose features came from a store."""
        if self._llm is None:
            return {}
        stats = self._llm.stats()
        return {"running": stats.num_requests_running, "cache_hits": stats.encoder_loads}

    def close(self) -> None:
        """See Backend."""
        if self._llm is not None:
            self._llm.close()


def _requests(
    llm: LLM, task: Task, automaton_of: Callable[[tuple[str, ...]], TokenAutomaton]
) -> list[EngineRequest]:
    shown = {"type": "image", "image": task.content}
    conversations = []
    for question in task.questions:
        params = llm.default_sampling_params(
            **question.sampling,
            structured_outputs=question.form,
            skip_special_tokens=_reader(llm, question) is None,
        )
        if question.choices:
            # The checkpoint's stop strings could end a choice in its midst.
            automaton = automaton_of(question.choices)
            params = replace(params, token_automaton=automaton, stop=())
        conversations.append((with_pictures(question.messages, shown, any_file=True), params))
    return llm.prepare_chats(conversations)


def _reader(llm: LLM, question: Question) -> AnswerReader | None:
    """Tells thoughts from an answer; one that is kept to a form has none."""
    if question.choices or question.form is not None:
        return None
    return llm.thought_reader


def _outcome(llm: LLM, task: Task, outputs: list[RequestOutput | Exception]) -> Outcome:
    answers = {}
    for question, output in zip(task.questions, outputs, strict=True):
        if isinstance(output, Exception):
            return Failed(task.picture, _about(question, task, output), task)
        answer = _answer(llm, question, output)
        if (fault := question.fault_of(answer)) is not None:
            return Failed(task.picture, _about(question, task, fault), task)
        answers[question.name] = answer
    return Captioned(task, answers)


def _answer(llm: LLM, question: Question, output: RequestOutput) -> Answer:
    (completion,) = output.outputs
    reader = _reader(llm, question)
    text = completion.text if reader is None else reader.content(output)
    return Answer(
        text.strip() if question.choices else text,
        completion.finish_reason or "",
        len(output.prompt_token_ids),
        len(completion.token_ids),
    )


def _about(question: Question, task: Task, error: Exception | str) -> str:
    several = len(task.questions) > 1
    return f"prompt {question.name}: {error}" if several else str(error)


def _without_place(error: RequestError) -> str:
    """The picture is the only thing that a row is about: which part of a message it is says
    nothing."""
    place, _, reason = str(error).partition(": ")
    return reason if error.param is not None and place == error.param and reason else str(error)
