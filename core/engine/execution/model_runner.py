"""Runs one ragged forward for a step: embeds, scatters image features, attends, gives logits."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...contracts.interfaces import KVLayer, LanguageModel
from ...device.kv_memory import allocate_kv_cache
from ...protocol.messages import MediaInput, TokenLogprobs
from ...protocol.sampling_params import SamplingParams
from ...protocol.scheduler_output import NewRequest, ScheduledRequest, SchedulerOutput
from .batch_invariance import forward_by_blocks
from .encoder_runner import EncoderRunner
from .input_batch import InputBatch, build_input_batch
from .logprobs import describe_prompt
from .sequence_state import SequenceState

#: Prompt positions whose logits are held at once.
_PROMPT_LOGITS_ROWS = 256


@dataclass(frozen=True)
class ForwardResult:
    """logits: [num_sampling_requests, vocab_size], float32, in the order of the schedule.
    prompt_logprobs, encode_seconds: see StepResult."""

    logits: Tensor
    prompt_logprobs: dict[str, list[TokenLogprobs | None]]
    encode_seconds: float


class ModelRunner:
    """Owns the model and the tensors of the KV cache: num_blocks of block_size tokens."""

    def __init__(
        self,
        model: LanguageModel,
        num_blocks: int,
        block_size: int,
        device: torch.device,
        dtype: torch.dtype,
        kv_cache_dtype: torch.dtype,
        batch_invariant: bool = False,
    ) -> None:
        self._model = model
        self._block_size = block_size
        self._device = device
        self._batch_invariant = batch_invariant
        self._kv_cache_dtype = kv_cache_dtype
        self._encoder = EncoderRunner(model, device, dtype, one_by_one=batch_invariant)
        self._kv_cache = self._allocate(num_blocks)
        self._states: dict[str, SequenceState] = {}

    def add(self, new: NewRequest) -> None:
        """Prepare for a request."""
        self._states[new.request_id] = SequenceState(new)

    def forget(self, request_id: str) -> None:
        """Drop what is kept for a request that has ended."""
        self._states.pop(request_id, None)

    @torch.inference_mode()
    def execute(self, output: SchedulerOutput) -> ForwardResult:
        """Compute what was scheduled. Raises EncodeError."""
        encode_seconds = self._encode(output.encode)
        states = [self._states[item.request_id] for item in output.scheduled]
        for item, state in zip(output.scheduled, states, strict=True):
            if item.block_ids:
                state.place_blocks(item.first_block, item.block_ids)
        batch = build_input_batch(output.scheduled, states, self._block_size, self._device)
        hidden = self._forward(batch, output.scheduled, states, self._kv_cache)
        all_sampled = len(batch.sample_rows) == len(hidden)
        return ForwardResult(
            self._compute_logits(hidden if all_sampled else hidden[batch.sample_rows]),
            self._describe_prompts(hidden, output.scheduled, states),
            encode_seconds,
        )

    def drop_features(self, media_keys: Sequence[str]) -> None:
        """Forget features that were evicted."""
        self._encoder.drop(media_keys)

    def features(self, media_key: str) -> Tensor:
        """[num_features, hidden_size] of an image that has been encoded."""
        return self._encoder.features(media_key)

    def _encode(self, media: Sequence[MediaInput]) -> float:
        """Encode images; returns the seconds that it took."""
        if not media:
            return 0.0
        started = time.monotonic()
        self._encoder.encode(media)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.monotonic() - started

    @torch.inference_mode()
    def encode_images(self, media: Sequence[MediaInput]) -> list[Tensor]:
        """[num_features, hidden_size] of each image, in order; none is kept."""
        computed = self._encoder.compute(media)
        return [computed[item.media_key] for item in media]

    @torch.inference_mode()
    def text_logits(self, token_ids: Sequence[int]) -> Iterator[Tensor]:
        """Logits after each token of a text, [rows, vocab_size] in float32, some hundred rows at a
        time: those of `execute` for a request of its own. Its keys and values are in memory of
        their own, so that no request notices.
        """
        ids, num_blocks = list(token_ids), -(-len(token_ids) // self._block_size)
        params = SamplingParams(prompt_logprobs=0)
        state = SequenceState(NewRequest("", len(ids), params, ids))
        state.place_blocks(0, list(range(num_blocks)))
        item = ScheduledRequest("", 0, ids, len(ids))
        batch = build_input_batch([item], [state], self._block_size, self._device)
        hidden = self._forward(batch, [item], [state], self._allocate(num_blocks))
        for rows in torch.split(hidden, _PROMPT_LOGITS_ROWS):
            yield self._compute_logits(rows)

    def _allocate(self, num_blocks: int) -> list[KVLayer]:
        """A KV cache of so many blocks."""
        # Block that takes what the filled places of `forward_by_blocks` write.
        num_blocks += int(self._batch_invariant)
        spec, dtype = self._model.kv_cache_spec, self._kv_cache_dtype
        return allocate_kv_cache(spec, num_blocks, self._block_size, dtype, self._device)

    def _forward(
        self,
        batch: InputBatch,
        scheduled: Sequence[ScheduledRequest],
        states: Sequence[SequenceState],
        kv_cache: Sequence[KVLayer],
    ) -> Tensor:
        """[num_tokens, hidden_size], of which the batch's output rows are valid."""
        embeds = self._embed(batch, scheduled)
        if not self._batch_invariant:
            return self._model.forward(embeds, batch.positions, kv_cache, batch.metadata)
        lengths = [item.num_tokens for item in scheduled]
        chunks = zip(
            torch.split(embeds, lengths),
            torch.split(batch.positions, lengths, dim=-1),
            scheduled,
            [state.block_table for state in states],
            strict=True,
        )
        return torch.cat([forward_by_blocks(self._model, *chunk, kv_cache) for chunk in chunks])

    def _compute_logits(self, hidden: Tensor) -> Tensor:
        if not self._batch_invariant or not len(hidden):
            return self._model.compute_logits(hidden).float()
        return torch.cat([self._model.compute_logits(row[None]).float() for row in hidden])

    def _describe_prompts(
        self, hidden: Tensor, scheduled: Sequence[ScheduledRequest], states: Sequence[SequenceState]
    ) -> dict[str, list[TokenLogprobs | None]]:
        described: dict[str, list[TokenLogprobs | None]] = {}
        if not any(state.wants_prompt_logprobs for state in states):
            return described
        row = 0
        for item, state in zip(scheduled, states, strict=True):
            if state.wants_prompt_logprobs:
                rows = hidden[row : row + item.num_tokens]
                described[item.request_id] = self._describe_prompt(rows, item, state)
            row += item.num_tokens
        return described

    def _describe_prompt(
        self, hidden: Tensor, item: ScheduledRequest, state: SequenceState
    ) -> list[TokenLogprobs | None]:
        """Log-probabilities of the prompt's tokens that follow the chunk's, unless known."""
        prompt, count = state.prompt_token_ids, state.num_top_logprobs
        assert count is not None
        first = max(item.start, state.num_prompt_logprobs - 1)
        last = min(item.end, len(prompt) - 1)
        described: list[TokenLogprobs | None] = []
        for start in range(first, last, _PROMPT_LOGITS_ROWS):
            end = min(start + _PROMPT_LOGITS_ROWS, last)
            logits = self._compute_logits(hidden[start - item.start : end - item.start])
            described += describe_prompt(logits, prompt[start + 1 : end + 1], count)
        state.note_prompt_logprobs(len(described))
        return described

    def _embed(self, batch: InputBatch, scheduled: Sequence[ScheduledRequest]) -> Tensor:
        """Token embeddings, with the features of images in place of their placeholders."""
        if not any(item.images for item in scheduled):
            return self._model.embed(batch.token_ids)
        runs: list[slice] = []
        pieces: list[Tensor] = []
        row = 0
        for item in scheduled:
            for run in item.images:
                first, start = row + run.offset, run.feature_start
                runs.append(slice(first, first + run.length))
                features = self._encoder.features(run.media_key)
                pieces.append(features[start : start + run.length])
            row += item.num_tokens
        is_media = torch.zeros(len(batch.token_ids), dtype=torch.bool)
        for rows in runs:
            is_media[rows] = True
        mask = is_media.to(self._device)
        # A placeholder's id may lie outside the embedding table.
        embeds = self._model.embed(batch.token_ids.masked_fill(mask, 0))
        embeds[mask] = torch.cat(pieces).to(embeds.dtype)
        return embeds
