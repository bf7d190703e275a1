"""Runs one ragged forward for a step: embeds, scatters image features, attends, gives logits."""

from __future__ import annotations

import torch
from torch import Tensor

from ..interfaces import KVLayer, LanguageModel
from .encoder_runner import EncoderRunner
from .input_batch import InputBatch, build_input_batch
from .kv_cache_manager import KVCacheManager
from .scheduler import ScheduledRequest, SchedulerOutput


class ModelRunner:
    """Owns the model and the tensors of the KV cache."""

    def __init__(
        self,
        model: LanguageModel,
        kv_cache: KVCacheManager,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._model = model
        self._kv_manager = kv_cache
        self._device = device
        self._encoder = EncoderRunner(model, device, dtype)
        spec = model.kv_cache_spec
        shape = (kv_cache.pool.num_blocks, kv_cache.block_size, spec.num_kv_heads, spec.head_dim)
        self._kv_cache = [
            KVLayer(*(torch.zeros(shape, dtype=dtype, device=device) for _ in range(2)))
            for _ in range(spec.num_layers)
        ]

    @torch.inference_mode()
    def execute(self, output: SchedulerOutput) -> Tensor:
        """Logits [num_sampling_requests, vocab_size] in float32, in the order of the schedule."""
        self._encoder.drop(output.evicted_media)
        self._encoder.encode(output.encode)
        tables = [self._kv_manager.block_ids(item.request) for item in output.scheduled]
        batch = build_input_batch(
            output.scheduled, tables, self._kv_manager.block_size, self._device
        )
        embeds = self._embed(batch, output.scheduled)
        hidden = self._model.forward(embeds, batch.positions, self._kv_cache, batch.metadata)
        return self._model.compute_logits(hidden[batch.sample_rows]).float()

    def _embed(self, batch: InputBatch, scheduled: list[ScheduledRequest]) -> Tensor:
        """Token embeddings, with the features of images in place of their placeholders."""
        is_media = torch.zeros(len(batch.token_ids), dtype=torch.bool)
        pieces: list[Tensor] = []
        row = 0
        for item in scheduled:
            for media in item.request.media:
                span = media.span
                first, last = max(span.offset, item.start), min(span.end, item.end)
                if first < last:
                    is_media[row + first - item.start : row + last - item.start] = True
                    features = self._encoder.features(span.media_key)
                    pieces.append(features[first - span.offset : last - span.offset])
            row += item.num_tokens
        mask = is_media.to(self._device)
        # A placeholder's id may lie outside the embedding table.
        embeds = self._model.embed(batch.token_ids.masked_fill(mask, 0))
        if pieces:
            embeds[mask] = torch.cat(pieces).to(embeds.dtype)
        return embeds
