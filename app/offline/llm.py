"""The offline class: prompts in, finished outputs back, in order."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar

from torch import Tensor

from ...core.client.request_state import RequestState
from ...core.protocol.errors import RequestError, error_for
from ...core.protocol.messages import EngineRequest
from ...core.protocol.outputs import RequestOutput
from ...core.protocol.sampling_params import BeamSearchParams, SamplingParams
from .loaded_model import LoadedModel, SamplingChoice
from .offline_run import OfflineRun
from .one_of_many import outputs_of
from .progress import UseTqdm, progress_bar
from .prompts import Prompt
from .request_stream import Prepared, stream
from .shared_processors import SharedProcessors
from .token_stream import token_stream

T = TypeVar("T")
C = TypeVar("C")


class LLM(LoadedModel):
    """A model in this process. Keyword arguments are the fields of EngineConfig, and
    `allowed_media_domains`, `allowed_media_networks` and `media_timeout`; see LoadedModel.

    Several threads may use it at once, and share its batches. It is a context: at the end of a
    `with` it is closed.

    Raises ConfigError or UnsupportedModelError if the model can't be loaded; RuntimeError, as all
    its methods do, in a process that was forked from one that has loaded a model.
    """

    def __enter__(self) -> Self:
        self._life.check()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what features are still to be written to the encoder store, close that, and give
        the memory of weights and KV cache back. What runs in other threads fails; whatever is
        called afterwards raises RuntimeError, but for `close`."""
        self._close()

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: SamplingChoice = None,
        *,
        use_tqdm: UseTqdm = True,
        priority: Sequence[int] | None = None,
    ) -> list[RequestOutput]:
        """Complete prompts: strings, {"prompt_token_ids": […]} or {"prompt": …,
        "multi_modal_data": {"image": picture or list}}; the latter two may have a "cache_salt".

        use_tqdm: show a bar, where standard error is a terminal; or what makes one, as vLLM takes
        it. priority: one for each prompt, lower first, for scheduling_policy="priority".

        Raises RequestError for a prompt that can't be served, before any of them runs. If one of
        several fails later, the error is RequestTimeoutError or RequestFailedError, and its
        `outputs` are those of all the others. Either names the prompt's place, its `index`.
        """
        requests = self._prepare_prompts(prompts, sampling_params, priority)
        return _run(self._begin_run(), requests, "prompts", use_tqdm)

    def generate_stream(
        self,
        prompt: Prompt | Sequence[Mapping[str, Any]],
        sampling_params: SamplingParams | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        priority: int = 0,
    ) -> Generator[RequestOutput]:
        """One prompt's completion, or the answer to one conversation, as it grows: an output after
        each step that added to it, the last one `finished`. `outputs[0].text` is all there is so
        far, `outputs[0].new_text` what came since the output before.

        prompt: as for `generate`, or messages as for `chat`. Closing the generator ends the
        request. Raises RequestError at once; from the generator, RequestTimeoutError or
        RequestFailedError.
        """
        request = self._prepare_one(prompt, sampling_params, priority, tools, chat_template_kwargs)
        return token_stream(self._begin_run(), request)

    def beam_search(
        self, prompts: Prompt | Sequence[Prompt], params: BeamSearchParams
    ) -> list[RequestOutput]:
        """The params.beam_width best completions of each prompt, the best first.

        Raises RequestError for a prompt that can't be served.
        """
        searches = self._prepare_beams(prompts, params)
        while requests := searches.next_requests():
            searches.update(_run(self._begin_round(), requests))
        return searches.to_outputs(self._inputs.tokenizer)

    def chat(
        self,
        messages: Sequence[Any],
        sampling_params: SamplingChoice = None,
        *,
        use_tqdm: UseTqdm = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> list[RequestOutput]:
        """Answer one conversation of OpenAI-style messages, or each of a list of them.

        Images are `image_url` parts, as a server takes them, with data: or file: URLs, or http(s):
        ones of hosts in `allowed_media_domains`; or {"type": "image", "image": a picture, a path
        or a URL}. tools: OpenAI-style definitions; they and chat_template_kwargs are given to
        the chat template. use_tqdm, and what is raised: as in `generate`.
        """
        requests = self._prepare_chats(messages, sampling_params, tools, chat_template_kwargs)
        return _run(self._begin_run(), requests, "conversations", use_tqdm)

    def get_tokenizer(self) -> Any:
        """The checkpoint's tokenizer, as transformers has it: `encode`, `decode` and
        `apply_chat_template`, by the template that `chat` uses. The first call imports
        transformers, in seconds."""
        return self._get_tokenizer()

    def encode_images(self, messages: Any) -> list[Tensor]:
        """What the decoder sees of each distinct image of a conversation, [num_features,
        hidden_size]. Raises RequestError for a conversation that can't be served."""
        return self._encode_images(messages)

    def run(self, requests: Sequence[EngineRequest]) -> list[RequestOutput]:
        """Run prepared requests together.

        Raises RequestError, RequestTimeoutError or RequestFailedError if one of them fails.
        """
        return _run(self._begin_run(), requests, "requests")

    def stream(
        self, items: Iterable[T], prepare: Callable[[T], EngineRequest]
    ) -> Iterator[RequestOutput | Exception]:
        """Run a request for each of any number of items, such as files, which `prepare` makes in
        other threads, several at once, ahead of those that run. The model may be used otherwise
        between two outputs, and by `prepare`.

        Gives outputs in order; for an item whose request can't be made, or fails, the error:
        RequestError, RequestTimeoutError or RequestFailedError.
        """

        processors = self.share_processors()

        def prepare_one(boxed: tuple[T]) -> Prepared[RequestError | None]:
            try:
                with processors.prepare():
                    return None, [prepare(*boxed)]
            except RequestError as error:
                return error, []

        for error, states in stream(self._begin_run(), zip(items), prepare_one, processors):
            yield error or _output_of(*states)

    def stream_groups(
        self,
        items: Iterable[T | None],
        prepare: Callable[[T], Prepared[C]],
        processors: SharedProcessors,
        is_enough: Callable[[], bool],
        num_threads: int,
    ) -> Iterator[tuple[C, list[RequestOutput | Exception]]]:
        """As `stream`, of items with any number of requests each, which come together with what
        `prepare` says beside them. processors: which `prepare` takes for what it computes.
        is_enough: whether to take no further items; asked between steps. num_threads: that
        prepare."""
        run = self._begin_run()
        for context, states in stream(run, items, prepare, processors, is_enough, num_threads):
            yield context, [_output_of(state) for state in states]

    def share_processors(self) -> SharedProcessors:
        """Between the engine and threads that prepare requests for one stream."""
        return SharedProcessors(engine_varies=not self._config.batch_invariant)


def _output_of(state: RequestState) -> RequestOutput | Exception:
    return state.to_output() if state.failure is None else error_for(state.failure)


def _run(
    run: OfflineRun,
    requests: Sequence[EngineRequest],
    name: str | None = None,
    use_tqdm: UseTqdm = False,
) -> list[RequestOutput]:
    """name: see `outputs_of`. Raises the first failure."""
    with progress_bar(use_tqdm, len(requests)) as tell_ended, run:
        states = [run.add(request) for request in requests]
        while before := run.num_unfinished:
            run.step()
            tell_ended(before - run.num_unfinished)
    return outputs_of(name, states)
