"""An engine in this process whose every token is timed."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

from ..app.offline.pictures import PictureReader
from ..app.serving.chat_messages import read_messages
from ..core.checkpoints.find_checkpoint import find_checkpoint
from ..core.client.request_state import RequestState
from ..core.encoder_store.open_tier import open_tier
from ..core.engine.engine_core import EngineCore
from ..core.engine.executor import Executor
from ..core.prompts.input_processor import InputProcessor, RequestOptions
from ..core.protocol.config import EngineConfig
from ..core.protocol.errors import error_for
from ..core.protocol.messages import EngineOutput, EngineRequest
from ..core.protocol.sampling_params import SamplingParams
from ..core.registry.registry import get_registry
from .request_record import RequestRecord
from .workload import RequestShape, chat_messages, noise_image, text_of, token_ids_of


class OfflineEngine:
    """Does what `LLM` does, and notes when. Raises ConfigError or UnsupportedModelError.

    image_size, seed: see RequestMix. executor: see EngineCore.
    """

    def __init__(
        self, config: EngineConfig, image_size: int, seed: int, executor: Executor | None = None
    ) -> None:
        self._config = config
        checkpoint, registry = find_checkpoint(config.model, config.mmproj), get_registry()
        self._inputs = InputProcessor(
            checkpoint,
            registry,
            config.max_image_tokens,
            config.model_impl,
            config.structured_outputs_backend,
        )
        self._core = EngineCore(config, checkpoint, registry, executor)
        self._pictures = PictureReader(config, open_tier(config, registry))
        self._facts = self._core.facts
        self._ids = itertools.count()
        self._image_size = image_size
        self._seed = seed

    def close(self) -> None:
        """Wait until features that are still to be written to the encoder store are."""
        self._core.close()

    def run(self, shapes: Sequence[RequestShape]) -> list[RequestRecord]:
        """Answer all at once; reading images counts. Times are from the call.

        Raises RequestError for a request that can't be served, RequestFailedError for one that
        failed.
        """
        # Drawn before the clock starts, as a caller has them.
        prompts = [self._prompt(shape) for shape in shapes]
        start = time.perf_counter()
        requests = [self._build(*prompt) for prompt in prompts]
        states = {r.request_id: RequestState(r, self._inputs.tokenizer) for r in requests}
        records = {r.request_id: RequestRecord(0.0, 0.0) for r in requests}
        for request in requests:
            self._note(self._core.add(request), states, records, start)
        while self._core.has_unfinished():
            self._note(self._core.step(), states, records, start)
            self._supply(requests)
        for request_id, state in states.items():
            if state.failure is not None:
                raise error_for(state.failure)
            answer = state.to_output()
            record = records[request_id]
            record.prompt_len = len(answer.prompt_token_ids)
            record.output_len = len(answer.outputs[0].token_ids)
            record.text = answer.outputs[0].text
        return list(records.values())

    def _prompt(self, shape: RequestShape) -> tuple[list[int] | list[dict[str, Any]], int]:
        if shape.image is None:
            ids = token_ids_of(shape, self._seed, self._facts.vocab_size)
            return ids, shape.output_len
        picture = noise_image(shape.image, self._image_size)
        part = {"type": "image", "image": picture}
        return chat_messages(text_of(shape, self._seed), part), shape.output_len

    def _build(self, prompt: list[Any], output_len: int) -> EngineRequest:
        params = SamplingParams(temperature=0, max_tokens=output_len, ignore_eos=True)
        token_ids, images = prompt, []
        if isinstance(prompt[0], dict):
            rendered, parts = read_messages(prompt, allow_local=True)
            token_ids = self._inputs.encode_chat(rendered)
            images = self._pictures.read(parts, self._inputs)
        request_id = str(next(self._ids))
        options = RequestOptions().with_defaults(self._config)
        built = self._inputs.build(request_id, token_ids, images, params, self._facts, options)
        return self._pictures.load(built)

    def _note(
        self,
        outputs: Sequence[EngineOutput],
        states: dict[str, RequestState],
        records: dict[str, RequestRecord],
        start: float,
    ) -> None:
        """Take in a step's outputs. Detokenising counts: a token is there once its text is."""
        for output in outputs:
            states[output.request_id].update(output)
            now = time.perf_counter() - start
            record = records[output.request_id]
            if output.new_token_ids:
                record.token_times.append(now)
            if output.finish_reason is not None:
                record.end = now

    def _supply(self, requests: Sequence[EngineRequest]) -> None:
        """Give the engine images that it has forgotten."""
        for wanted in self._core.take_media_events().wanted:
            for request in requests:
                for item in request.media:
                    if item.media_key in wanted.media_keys:
                        self._core.supply(item)
