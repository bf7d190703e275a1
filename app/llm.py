"""The offline class: prompts in, finished outputs back, in order."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.engine.checkpoint import find_checkpoint
from ..core.engine.config import EngineConfig
from ..core.engine.detokenizer import RequestState
from ..core.engine.engine_core import EngineCore
from ..core.engine.errors import RequestError, RequestFailedError
from ..core.engine.input_processor import ImageInput, InputProcessor
from ..core.engine.messages import EngineRequest
from ..core.engine.outputs import RequestOutput
from ..core.engine.sampling_params import SamplingParams
from ..core.registry import get_registry
from . import DEMO_MODEL
from .chat import load_picture, read_messages

Prompt = str | Mapping[str, Any]


class LLM:
    """A model in this process. Keyword arguments are the fields of EngineConfig.

    Raises ConfigError or UnsupportedModelError if the model can't be loaded.
    """

    def __init__(self, model: str | Path = DEMO_MODEL, **settings: Any) -> None:
        self._config = EngineConfig(model=str(model), **settings)
        checkpoint = find_checkpoint(self._config.model)
        registry = get_registry()
        self._inputs = InputProcessor(checkpoint, registry)
        self._core = EngineCore(self._config, checkpoint, registry)
        self._limits = self._core.describe()
        self._ids = itertools.count()

    @property
    def num_free_blocks(self) -> int:
        """KV blocks that no request holds."""
        return self._core.num_free_blocks

    def default_sampling_params(self, **overrides: Any) -> SamplingParams:
        """What the checkpoint's generation config asks for, with fields replaced."""
        return SamplingParams(**{**self._inputs.default_sampling, **overrides})

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
    ) -> list[RequestOutput]:
        """Complete prompts: strings, {"prompt_token_ids": […]} or {"prompt": …,
        "multi_modal_data": {"image": picture or list}}.

        Raises RequestError for a prompt that can't be served, before any of them runs.
        """
        listed = [prompts] if isinstance(prompts, str | Mapping) else list(prompts)
        params = self._params_for(len(listed), sampling_params)
        return self.run(
            [self._build(*self._read_prompt(p), params[i]) for i, p in enumerate(listed)]
        )

    def chat(
        self,
        messages: Sequence[Any],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
    ) -> list[RequestOutput]:
        """Answer one conversation of OpenAI-style messages, or each of a list of them.

        Images may be data: URLs in `image_url` parts, or {"type": "image", "image": a picture
        or a path}. Raises RequestError for a conversation that can't be served.
        """
        single = bool(messages) and isinstance(messages[0], Mapping)
        conversations = [messages] if single else list(messages)
        params = self._params_for(len(conversations), sampling_params)
        return self.run(
            [self.prepare_chat(c, p) for c, p in zip(conversations, params, strict=True)]
        )

    def prepare_chat(self, messages: Any, params: SamplingParams) -> EngineRequest:
        """A request for one conversation, to be `run` with others. Raises RequestError."""
        limit = self._config.max_image_pixels
        rendered, images = read_messages(messages, limit, allow_local=True)
        return self._build(self._inputs.encode_chat(rendered), images, params)

    def run(self, requests: Sequence[EngineRequest]) -> list[RequestOutput]:
        """Run prepared requests together. Raises RequestFailedError if the engine fails."""
        states = {r.request_id: RequestState(r, self._inputs.tokenizer) for r in requests}
        try:
            for request in requests:
                refusal = self._core.add(request)
                if refusal is not None:
                    raise RequestError(refusal.error or "the request was refused")
            self._finish(states)
        finally:
            self._core.abort(states)
        for state in states.values():
            if state.error is not None:
                raise RequestFailedError(state.error)
        return [state.to_output() for state in states.values()]

    def _params_for(
        self, count: int, given: SamplingParams | Sequence[SamplingParams] | None
    ) -> list[SamplingParams]:
        if given is None or isinstance(given, SamplingParams):
            return [given or self.default_sampling_params()] * count
        if len(given) != count:
            raise RequestError(f"{len(given)} sampling params for {count} prompts")
        return list(given)

    def _read_prompt(self, prompt: Prompt) -> tuple[list[int], list[ImageInput]]:
        if isinstance(prompt, str):
            return self._inputs.tokenizer.encode(prompt), []
        token_ids = prompt.get("prompt_token_ids")
        if token_ids is None:
            if not isinstance(prompt.get("prompt"), str):
                raise RequestError("a prompt needs 'prompt' or 'prompt_token_ids'", "prompt")
            token_ids = self._inputs.tokenizer.encode(prompt["prompt"])
        given = (prompt.get("multi_modal_data") or {}).get("image", [])
        pictures = given if isinstance(given, list | tuple) else [given]
        limit = self._config.max_image_pixels
        return list(token_ids), [
            load_picture(picture, f"multi_modal_data.image[{i}]", limit)
            for i, picture in enumerate(pictures)
        ]

    def _build(
        self, token_ids: list[int], images: list[ImageInput], params: SamplingParams
    ) -> EngineRequest:
        request_id = str(next(self._ids))
        return self._inputs.build(request_id, token_ids, images, params, self._limits)

    def _finish(self, states: Mapping[str, RequestState]) -> None:
        while self._core.has_unfinished():
            for output in self._core.step():
                if states[output.request_id].update(output):
                    self._core.abort([output.request_id])
