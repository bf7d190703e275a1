"""Decides, step by step, which requests compute how many tokens."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .encoder_cache_manager import EncoderCacheManager
from .kv_cache_manager import KVCacheManager
from .messages import MediaInput, TokenLogprobs
from .request import Request, RequestStatus


@dataclass(frozen=True)
class ScheduledRequest:
    """A request and the chunk of it that a step computes: num_tokens from `start` on."""

    request: Request
    start: int
    num_tokens: int

    @property
    def end(self) -> int:
        """The position after the chunk."""
        return self.start + self.num_tokens

    @property
    def samples(self) -> bool:
        """Whether the chunk reaches the last known token, so that the next one is sampled."""
        return self.end == self.request.num_tokens


@dataclass
class SchedulerOutput:
    """What one step is to do.

    encode: images whose features must be computed before the forward, each once.
    evicted_media: keys of features to drop.
    """

    scheduled: list[ScheduledRequest] = field(default_factory=list)
    encode: list[MediaInput] = field(default_factory=list)
    evicted_media: list[str] = field(default_factory=list)
    preempted: list[Request] = field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        """Tokens of the whole step."""
        return sum(item.num_tokens for item in self.scheduled)


@dataclass(frozen=True)
class SampledToken:
    """What the sampler chose for one request."""

    token_id: int
    logprobs: TokenLogprobs | None


class Scheduler:
    """First come, first served, in flight: running requests first, then waiting ones.

    There are no phases: a request has computed some of its known tokens, and a step computes
    more of them, as many as the token budget allows. When blocks run out, the request that came
    last is preempted and later computes its tokens again.
    """

    def __init__(
        self,
        kv_cache: KVCacheManager,
        encoder_cache: EncoderCacheManager,
        *,
        max_num_seqs: int,
        max_num_batched_tokens: int,
        max_model_len: int,
        bytes_per_media_token: int,
        eos_token_ids: Iterable[int],
    ) -> None:
        self.kv_cache = kv_cache
        self.encoder_cache = encoder_cache
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []
        self._requests: dict[str, Request] = {}
        self._max_num_seqs = max_num_seqs
        self._max_num_batched_tokens = max_num_batched_tokens
        self._max_model_len = max_model_len
        self._bytes_per_media_token = bytes_per_media_token
        self._eos_token_ids = frozenset(eos_token_ids)

    def has_unfinished(self) -> bool:
        """Whether there is anything left to do."""
        return bool(self._requests)

    def add(self, request: Request) -> None:
        """Queue a request. Raises ValueError if it could never run."""
        for media in request.media:
            needed = media.span.length * self._bytes_per_media_token
            if needed > self.encoder_cache.capacity:
                raise ValueError(
                    f"an image of {media.span.length} tokens needs {needed} bytes of features, "
                    f"more than the encoder cache's {self.encoder_cache.capacity}"
                )
        if request.request_id in self._requests:
            raise ValueError(f"request id {request.request_id} is in use")
        self._requests[request.request_id] = request
        self.waiting.append(request)

    def finish(self, request_id: str, status: RequestStatus) -> Request | None:
        """End a request at any stage and free what it holds; None if there is no such request."""
        request = self._requests.pop(request_id, None)
        if request is None:
            return None
        if request.status is RequestStatus.RUNNING:
            self.running.remove(request)
        else:
            self.waiting.remove(request)
        request.transition(status)
        self._free(request)
        return request

    def schedule(self) -> SchedulerOutput:
        """Choose the next step's work and reserve blocks and encoder room for it."""
        output = SchedulerOutput()
        self._schedule_running(output)
        if not output.preempted:
            self._schedule_waiting(output)
        output.encode = self._collect_encodes(output)
        output.evicted_media = self.encoder_cache.take_evicted()
        return output

    def update(
        self, output: SchedulerOutput, sampled: Mapping[str, SampledToken]
    ) -> list[tuple[Request, list[int]]]:
        """Take in a step's results; returns each request that got tokens or ended."""
        for media in output.encode:
            self.encoder_cache.mark_encoded(media.span.media_key)
        progress: list[tuple[Request, list[int]]] = []
        for item in output.scheduled:
            request = item.request
            request.num_computed_tokens = item.end
            self._unpin_passed(request)
            if item.samples:
                self._append(request, sampled[request.request_id])
                progress.append((request, request.token_ids[-1:]))
        return progress

    def fail(self, output: SchedulerOutput, error: str) -> list[Request]:
        """End every request of a step that raised, and forget what it was to compute."""
        for item in output.scheduled:
            self.kv_cache.discard_uncomputed(item.request)
        failed = []
        for item in output.scheduled:
            item.request.error = error
            self.finish(item.request.request_id, RequestStatus.FINISHED_ERROR)
            failed.append(item.request)
        return failed

    def _schedule_running(self, output: SchedulerOutput) -> None:
        for request in list(self.running):
            if request.status is not RequestStatus.RUNNING:
                continue
            chunk = self._cut_chunk(request, output)
            while chunk and not self.kv_cache.allocate(request, chunk):
                victim = self.running[-1]
                self._preempt(victim)
                output.preempted.append(victim)
                if victim is request:
                    chunk = 0
            if chunk:
                start = request.num_computed_tokens
                output.scheduled.append(ScheduledRequest(request, start, chunk))

    def _schedule_waiting(self, output: SchedulerOutput) -> None:
        while self.waiting and len(self.running) < self._max_num_seqs:
            request = self.waiting[0]
            request.num_computed_tokens = self.kv_cache.match_prefix(request)
            chunk = self._cut_chunk(request, output)
            if not chunk or not self.kv_cache.allocate(request, chunk):
                self._free(request)
                request.num_computed_tokens = 0
                return
            self.waiting.popleft()
            self.running.append(request)
            request.transition(RequestStatus.RUNNING)
            start = request.num_computed_tokens
            output.scheduled.append(ScheduledRequest(request, start, chunk))

    def _cut_chunk(self, request: Request, output: SchedulerOutput) -> int:
        """How many tokens to compute next: within the budget, and before an image that does not
        fit the encoder cache now. Images inside the chunk are pinned."""
        start = request.num_computed_tokens
        budget = self._max_num_batched_tokens - output.num_tokens
        end = start + min(request.num_tokens - start, budget)
        for media in request.media:
            span = media.span
            if span.end <= start or span.offset >= end:
                continue
            size = span.length * self._bytes_per_media_token
            if not self.encoder_cache.pin(span.media_key, size, request.request_id):
                return max(0, span.offset - start)
        return end - start

    def _collect_encodes(self, output: SchedulerOutput) -> list[MediaInput]:
        wanted: dict[str, MediaInput] = {}
        for item in output.scheduled:
            for media in item.request.media:
                overlaps = media.span.offset < item.end and item.start < media.span.end
                if overlaps and self.encoder_cache.needs_encoding(media.span.media_key):
                    wanted.setdefault(media.span.media_key, media)
        return list(wanted.values())

    def _append(self, request: Request, token: SampledToken) -> None:
        if not request.num_output_tokens:
            request.timings.first_token = time.monotonic()
        request.token_ids.append(token.token_id)
        if token.logprobs is not None:
            request.new_logprobs.append(token.logprobs)
        status = self._stop_status(request, token.token_id)
        if status is not None:
            self.finish(request.request_id, status)

    def _stop_status(self, request: Request, token_id: int) -> RequestStatus | None:
        params = request.sampling_params
        if token_id in params.stop_token_ids:
            request.stop_token_id = token_id
            return RequestStatus.FINISHED_STOPPED
        if token_id in self._eos_token_ids and not params.ignore_eos:
            return RequestStatus.FINISHED_STOPPED
        limit = params.max_tokens
        reached_limit = limit is not None and request.num_output_tokens >= limit
        if reached_limit or request.num_tokens >= self._max_model_len:
            return RequestStatus.FINISHED_LENGTH
        return None

    def _unpin_passed(self, request: Request) -> None:
        """Unpin images whose tokens are all computed, unless a later span shows one again."""
        computed = request.num_computed_tokens
        passed = {m.span.media_key for m in request.media if m.span.end <= computed}
        ahead = {m.span.media_key for m in request.media if m.span.end > computed}
        for key in passed - ahead:
            self.encoder_cache.unpin(key, request.request_id)

    def _preempt(self, request: Request) -> None:
        self._free(request)
        request.num_computed_tokens = 0
        request.transition(RequestStatus.PREEMPTED)
        self.running.remove(request)
        self.waiting.appendleft(request)

    def _free(self, request: Request) -> None:
        self.kv_cache.free(request)
        for media in request.media:
            self.encoder_cache.unpin(media.span.media_key, request.request_id)

    def check_integrity(self) -> None:
        """Raise AssertionError if queues, states and caches disagree."""
        self.kv_cache.check_integrity()
        self.encoder_cache.check_integrity()
        live = [*self.waiting, *self.running]
        assert len(live) == len(self._requests) == len(set(map(id, live)))
        assert all(r.status is RequestStatus.RUNNING for r in self.running)
        assert all(r.num_computed_tokens == 0 for r in self.waiting)
        if not live:
            assert self.kv_cache.num_free_blocks == self.kv_cache.pool.num_blocks
            assert self.encoder_cache.pinned_bytes == 0
