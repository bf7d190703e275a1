"""Runs one ragged forward for a step: embeds, scatters image features, attends, gives logits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...contracts.interfaces import LanguageModel
from ...device.kv_memory import allocate_kv_cache
from ...protocol.messages import MediaInput, TokenLogprobs
from ..scheduling.kv_cache_manager import KVCacheManager
from ..scheduling.scheduler_output import ScheduledRequest, SchedulerOutput
from .batch_invariance import forward_by_blocks
from .encoder_runner import EncoderRunner
from .input_batch import InputBatch, build_input_batch
from .logprobs import describe_prompt

#: Prompt positions whose logits are held at once.
_PROMPT_LOGITS_ROWS = 256


@dataclass(frozen=True)
class StepResult:
    """logits: [num_sampling_requests, vocab_size], float32, in the order of the schedule.
    prompt_logprobs: the next ones of each request that asked.
    encode_seconds: what the encoder took."""

    logits: Tensor
    prompt_logprobs: dict[str, list[TokenLogprobs | None]]
    encode_seconds: float


class ModelRunner:
    """Owns the model and the tensors of the KV cache."""

    def __init__(
        self,
        model: LanguageModel,
        kv_cache: KVCacheManager,
        device: torch.device,
        dtype: torch.dtype,
        kv_cache_dtype: torch.dtype,
        batch_invariant: bool = False,
    ) -> None:
        self._model = model
        self._kv_manager = kv_cache
        self._device = device
        self._batch_invariant = batch_invariant
        self._encoder = EncoderRunner(model, device, dtype, one_by_one=batch_invariant)
        num_blocks = kv_cache.pool.num_blocks + int(batch_invariant)
        self._kv_cache = allocate_kv_cache(
            model.kv_cache_spec, num_blocks, kv_cache.block_size, kv_cache_dtype, device
        )

    @torch.inference_mode()
    def execute(self, output: SchedulerOutput) -> StepResult:
        """Compute what was scheduled."""
        encode_seconds = self._encode(output.encode)
        tables = [self._kv_manager.block_ids(item.request) for item in output.scheduled]
        batch = build_input_batch(
            output.scheduled, tables, self._kv_manager.block_size, self._device
        )
        embeds = self._embed(batch, output.scheduled)
        if self._batch_invariant:
            hidden = self._forward_by_blocks(embeds, batch.positions, output.scheduled, tables)
        else:
            hidden = self._model.forward(embeds, batch.positions, self._kv_cache, batch.metadata)
        all_sampled = len(batch.sample_rows) == len(hidden)
        return StepResult(
            self._compute_logits(hidden if all_sampled else hidden[batch.sample_rows]),
            self._describe_prompts(hidden, output.scheduled),
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

    def _forward_by_blocks(
        self,
        embeds: Tensor,
        positions: Tensor,
        scheduled: Sequence[ScheduledRequest],
        tables: Sequence[Sequence[int]],
    ) -> Tensor:
        lengths = [item.num_tokens for item in scheduled]
        chunks = zip(
            torch.split(embeds, lengths),
            torch.split(positions, lengths, dim=-1),
            scheduled,
            tables,
            strict=True,
        )
        return torch.cat(
            [forward_by_blocks(self._model, *chunk, self._kv_cache) for chunk in chunks]
        )

    def _compute_logits(self, hidden: Tensor) -> Tensor:
        if not self._batch_invariant or not len(hidden):
            return self._model.compute_logits(hidden).float()
        return torch.cat([self._model.compute_logits(row[None]).float() for row in hidden])

    def _describe_prompts(
        self, hidden: Tensor, scheduled: Sequence[ScheduledRequest]
    ) -> dict[str, list[TokenLogprobs | None]]:
        described = {}
        row = 0
        for item in scheduled:
            if item.request.wants_prompt_logprobs:
                rows = hidden[row : row + item.num_tokens]
                described[item.request.request_id] = self._describe_prompt(rows, item)
            row += item.num_tokens
        return described

    def _describe_prompt(
        self, hidden: Tensor, item: ScheduledRequest
    ) -> list[TokenLogprobs | None]:
        """Log-probabilities of the prompt's tokens that follow the chunk's, unless known."""
        request = item.request
        count = request.sampling_params.prompt_logprobs
        assert count is not None
        first = max(item.start, len(request.prompt_logprobs) - 1)
        last = min(item.end, request.num_prompt_tokens - 1)
        described: list[TokenLogprobs | None] = []
        for start in range(first, last, _PROMPT_LOGITS_ROWS):
            end = min(start + _PROMPT_LOGITS_ROWS, last)
            logits = self._compute_logits(hidden[start - item.start : end - item.start])
            described += describe_prompt(logits, request.token_ids[start + 1 : end + 1], count)
        return described

    def _embed(self, batch: InputBatch, scheduled: Sequence[ScheduledRequest]) -> Tensor:
        """Token embeddings, with the features of images in place of their placeholders."""
        runs: list[slice] = []
        pieces: list[Tensor] = []
        row = 0
        for item in scheduled:
            for span in item.request.spans_within(item.start, item.end):
                first, last = max(span.offset, item.start), min(span.end, item.end)
                runs.append(slice(row + first - item.start, row + last - item.start))
                start = span.feature_start - span.offset
                features = self._encoder.features(span.media_key)
                pieces.append(features[start + first : start + last])
            row += item.num_tokens
        if not pieces:
            return self._model.embed(batch.token_ids)
        is_media = torch.zeros(len(batch.token_ids), dtype=torch.bool)
        for run in runs:
            is_media[run] = True
        mask = is_media.to(self._device)
        # A placeholder's id may lie outside the embedding table.
        embeds = self._model.embed(batch.token_ids.masked_fill(mask, 0))
        embeds[mask] = torch.cat(pieces).to(embeds.dtype)
        return embeds
