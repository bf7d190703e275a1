"""The offline class for asyncio: as many calls at once as one likes, in one batch."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

from torch import Tensor

from ...core.client.request_state import RequestState
from ...core.process.together import ahead, together
from ...core.protocol.errors import (
    RequestError,
    RequestFailedError,
    RequestTimeoutError,
)
from ...core.protocol.messages import EngineRequest
from ...core.protocol.outputs import RequestOutput
from ...core.protocol.sampling_params import BeamSearchParams, SamplingParams
from .. import DEMO_MODEL
from .async_states import async_states
from .loaded_model import LoadedModel, SamplingChoice
from .offline_run import OfflineRun
from .one_of_many import outputs_of
from .progress import UseTqdm, progress_bar
from .prompts import Prompt
from .request_stream import WINDOW
from .step_thread import StepThread
from .token_stream import Snapshots

P = ParamSpec("P")
T = TypeVar("T")


class AsyncLLM(LoadedModel):
    """A model in this process, for asyncio: the methods of LLM as coroutines, and arguments as
    there. Calls that are open at once share each step. A call that is cancelled ends its requests.

    The model is loaded here, in seconds or minutes; it computes in a thread of its own, so that the
    event loop goes on. Any number of event loops may use it. It is an asynchronous context: at the
    end of an `async with` it is closed.
    """

    def __init__(self, model: str | Path = DEMO_MODEL, **settings: Any) -> None:
        super().__init__(model, **settings)
        self._steps = StepThread(self._engine)
        num_threads = len(os.sched_getaffinity(0))
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="octavo-prepare")

    async def __aenter__(self) -> Self:
        self._life.check()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """As LLM's; calls that are open fail."""
        await asyncio.to_thread(self._close)

    async def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: SamplingChoice = None,
        *,
        use_tqdm: UseTqdm = False,
        priority: Sequence[int] | None = None,
    ) -> list[RequestOutput]:
        """See LLM.generate. There is no bar unless it is asked for."""
        requests = await self._in_thread(self._prepare_prompts, prompts, sampling_params, priority)
        return await self._run(requests, "prompts", use_tqdm)

    async def chat(
        self,
        messages: Sequence[Any],
        sampling_params: SamplingChoice = None,
        *,
        use_tqdm: UseTqdm = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> list[RequestOutput]:
        """See LLM.chat. There is no bar unless it is asked for."""
        requests = await self._in_thread(
            self._prepare_chats, messages, sampling_params, tools, chat_template_kwargs
        )
        return await self._run(requests, "conversations", use_tqdm)

    async def generate_stream(
        self,
        prompt: Prompt | Sequence[Mapping[str, Any]],
        sampling_params: SamplingParams | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        priority: int = 0,
    ) -> AsyncGenerator[RequestOutput]:
        """See LLM.generate_stream; all errors come from the generator."""
        request = await self._in_thread(
            self._prepare_one, prompt, sampling_params, priority, tools, chat_template_kwargs
        )
        states = async_states(self._steps, self._begin_run(), request, Snapshots().take)
        async with aclosing(states) as outputs:
            async for output in outputs:
                yield output
                if output.finished:
                    return

    async def beam_search(
        self, prompts: Prompt | Sequence[Prompt], params: BeamSearchParams
    ) -> list[RequestOutput]:
        """See LLM.beam_search."""
        searches = await self._in_thread(self._prepare_beams, prompts, params)
        while requests := searches.next_requests():
            searches.update(await self._run(requests, begin=self._begin_round))
        return searches.to_outputs(self._inputs.tokenizer)

    async def get_tokenizer(self) -> Any:
        """See LLM.get_tokenizer."""
        return await self._in_thread(self._get_tokenizer)

    async def encode_images(self, messages: Any) -> list[Tensor]:
        """See LLM.encode_images."""
        return await self._in_thread(self._encode_images, messages)

    async def run(self, requests: Sequence[EngineRequest]) -> list[RequestOutput]:
        """See LLM.run."""
        self._life.check()
        return await self._run(requests, "requests")

    async def stream(
        self, items: Iterable[T], prepare: Callable[[T], EngineRequest]
    ) -> AsyncGenerator[RequestOutput | Exception]:
        """See LLM.stream."""

        async def outcome(item: T) -> RequestOutput | Exception:
            try:
                (output,) = await self._run([await self._in_thread(prepare, item)])
            except (RequestError, RequestTimeoutError, RequestFailedError) as error:
                return error
            return output

        async with aclosing(ahead(map(outcome, items), WINDOW)) as outcomes:
            async for ended in outcomes:
                yield ended

    async def _run(
        self,
        requests: Sequence[EngineRequest],
        name: str | None = None,
        use_tqdm: UseTqdm = False,
        begin: Callable[[], OfflineRun] | None = None,
    ) -> list[RequestOutput]:
        begin = begin or self._begin_run
        with progress_bar(use_tqdm, len(requests)) as tell_ended:

            async def end_of(request: EngineRequest) -> RequestState:
                async with aclosing(
                    async_states(self._steps, begin(), request, _if_finished)
                ) as states:
                    state = await anext(states)
                tell_ended(1)
                return state

            return outputs_of(name, await together(map(end_of, requests)))

    async def _in_thread(self, call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        self._life.check()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(call, *arguments, **named))

    def _stop_threads(self) -> None:
        self._threads.shutdown()
        self._steps.stop()


def _if_finished(state: RequestState) -> RequestState | None:
    return state if state.finished else None
