"""Decides, step by step, which requests compute how many tokens."""

from __future__ import annotations

import time
from collections.abc import Container, Iterable

import msgspec

from ...protocol.messages import EngineStats, Failure, FeatureInput, MediaInput, MediaWanted
from ...protocol.scheduler_output import (
    SampledTokens,
    ScheduledRequest,
    SchedulerOutput,
    StepResult,
)
from .deadlines import Deadlines
from .encoder_cache_manager import EncoderCacheManager
from .feasibility import check_features, check_runs
from .kv_cache_manager import KVCacheManager
from .media_inbox import MediaInbox
from .parked_requests import ParkedRequests
from .request import Request, RequestStatus
from .request_queue import POLICIES, RequestQueue
from .waiting_requests import WaitingRequests


class Scheduler:
    """In-flight batching: requests join, compute and leave at every step, by rank.

    There are no phases: a request has computed some of its known tokens, and a step computes
    more of them, as many as the token budget allows. All requests, running or waiting, are ranked
    by the policy's class, then by when they began, and those that have not by the shares of their
    clients (see WaitingRequests); when slots or blocks run out, the running request with the worst
    rank is preempted for one with a better rank, and later computes its tokens again.

    A request that needs an image which is neither encoded nor in the inbox is parked: it waits
    aside, not in anyone's way, until the image is supplied.
    """

    def __init__(
        self,
        kv_cache: KVCacheManager,
        encoder_cache: EncoderCacheManager,
        *,
        max_num_seqs: int,
        max_num_batched_tokens: int,
        max_model_len: int,
        bytes_per_feature: int,
        eos_token_ids: Iterable[int],
        policy: str = "fcfs",
    ) -> None:
        self.kv_cache = kv_cache
        self.encoder_cache = encoder_cache
        self.waiting = WaitingRequests(POLICIES[policy])
        self.running = RequestQueue()
        self._parked = ParkedRequests()
        #: What waits for something else than images, by id.
        self._held: dict[str, Request] = {}
        self._inbox = MediaInbox()
        self._requests: dict[str, Request] = {}
        self._ended: list[str] = []
        self._deadlines = Deadlines()
        self._stats = EngineStats()
        self._max_num_seqs = max_num_seqs
        self._max_num_batched_tokens = max_num_batched_tokens
        self._max_model_len = max_model_len
        self._bytes_per_feature = bytes_per_feature
        self._eos_token_ids = frozenset(eos_token_ids)
        self._budget = 0
        self._prefilling = False

    def has_unfinished(self) -> bool:
        """Whether there is anything left to do."""
        return bool(self._requests)

    def has_work(self) -> bool:
        """Whether there is anything that can be done now."""
        return len(self._requests) > len(self._parked) + len(self._held)

    def stats(self) -> EngineStats:
        """The present state and the counts so far."""
        self._stats.num_requests_running = len(self.running)
        self._stats.num_requests_waiting = len(self.waiting) + len(self._parked) + len(self._held)
        self._stats.num_free_blocks = self.kv_cache.num_free_blocks
        self._stats.num_cached_blocks = self.kv_cache.pool.num_cached_blocks
        self._stats.encoder_cache_pinned_bytes = self.encoder_cache.pinned_bytes
        return msgspec.structs.replace(self._stats)

    def add(self, request: Request, held: bool = False) -> None:
        """Queue a request; one that is held isn't scheduled before it is released. Raises
        ValueError if it could never run."""
        check_runs(request, self._max_num_batched_tokens)
        check_features(request, self._bytes_per_feature, self.encoder_cache.capacity)
        if request.request_id in self._requests:
            raise ValueError(f"request id {request.request_id} is in use")
        self.waiting.arrive(request)
        self._requests[request.request_id] = request
        self._deadlines.add(request)
        for media in request.take_media():
            self._inbox.add(media, request.request_id)
        if held:
            self._held[request.request_id] = request
        else:
            self.waiting.add(request)

    def release(self, request_id: str) -> None:
        """Let a request that was held, if it hasn't ended, wait for its turn."""
        request = self._held.pop(request_id, None)
        if request is not None:
            self.waiting.add(request)

    def fail_held(self, request_id: str, failure: Failure) -> Request | None:
        """End a request that was held; None if it has ended."""
        request = self._held.get(request_id)
        if request is not None:
            self._fail(request, failure)
        return request

    def supply(self, media: MediaInput) -> None:
        """An image that was wanted has come; who has all it needs waits for its turn again."""
        self._inbox.supply(media)
        for request in self._parked.supply(media.media_key):
            self.waiting.add(request)

    def take_wanted(self) -> list[MediaWanted]:
        """What parked requests wait for, told once each time one is parked."""
        return self._parked.take_wanted()

    def finish(self, request_id: str, status: RequestStatus) -> Request | None:
        """End a request at any stage and free what it holds; None if there is no such request."""
        request = self._requests.pop(request_id, None)
        if request is None:
            return None
        if not self._parked.remove(request_id) and not self._held.pop(request_id, None):
            running = request.status is RequestStatus.RUNNING
            (self.running if running else self.waiting).remove(request)
        request.transition(status)
        self.waiting.end(request)
        self._free(request)
        self._inbox.release(request.media, request_id)
        if request.announced:
            self._ended.append(request_id)
        return request

    def expire(self, now: float) -> list[Request]:
        """End the requests whose time is over, at `now` in `time.monotonic` seconds."""
        expired = self._deadlines.expired(now, self._requests)
        for request, failure in expired:
            self._fail(request, failure)
        return [request for request, _ in expired]

    def schedule(self) -> SchedulerOutput:
        """Choose the next step's work and reserve blocks and encoder room for it.

        Running and waiting requests are merged by rank, so those before `position` in `running`
        are settled for this step, and only those from there on may be preempted.
        """
        output = SchedulerOutput(ended=self._ended)
        self._ended = []
        self._budget = self._max_num_batched_tokens
        self._prefilling = False
        admitting = True
        position = 0
        while self._budget > 0:
            candidate = self.waiting.first() if admitting else None
            if candidate is not None and self._goes_before(candidate, position):
                admitting = self._admit(candidate, position, output)
                # What was preempted for a candidate must not take its place back at once.
                admitting = admitting and not output.preempted
                position += candidate.status is RequestStatus.RUNNING
            elif position < len(self.running):
                position += self._continue(self.running[position], position, output)
                admitting = admitting and not output.preempted
            else:
                break
        output.encode = self._collect_encodes(output)
        output.evicted_media = self.encoder_cache.take_evicted()
        self._stats.num_preemptions += len(output.preempted)
        return output

    def update(
        self, output: SchedulerOutput, result: StepResult
    ) -> list[tuple[Request, list[int]]]:
        """Take in a step's results; returns each request that got tokens or ended."""
        self.kv_cache.keep_filled()
        for media in output.encode:
            self.encoder_cache.mark_encoded(media.media_key)
        loads = sum(isinstance(media.payload, FeatureInput) for media in output.encode)
        self._stats.encoder_loads += loads
        self._stats.encoder_runs += len(output.encode) - loads
        sources = {media.media_key: _source_of(media) for media in output.encode}
        for item in output.scheduled:
            request = self._requests[item.request_id]
            request.num_computed_tokens = item.end
            if item.images:
                self._note_sources(request, item, sources, result.encode_seconds)
                self._unpin_passed(request, item)
        for media in output.encode:
            if not self._is_shown_again(media.media_key):
                self._inbox.remove(media.media_key)
        for request_id, logprobs in result.prompt_logprobs.items():
            self._requests[request_id].prompt_logprobs += logprobs
        progress = []
        for request_id, sampled in result.sampled.items():
            request = self._requests[request_id]
            progress.append((request, self._append(request, sampled)))
        return progress

    def waiting_for_images(self, output: SchedulerOutput) -> list[str]:
        """The log_ids of those whose images a step encodes."""
        keys = {media.media_key for media in output.encode}
        if not keys:
            return []
        requests = [self._requests[item.request_id] for item in output.scheduled]
        shown = (request.log_id for request in requests if not keys.isdisjoint(request.media))
        return list(dict.fromkeys(shown))

    def fail(
        self, output: SchedulerOutput, message: str, media_keys: Container[str] | None = None
    ) -> list[tuple[Request, list[int]]]:
        """End the requests of a step that raised, and forget what it was to compute; returns what
        `update` would, with no tokens. media_keys: images that can't be encoded, if that is why:
        requests that show none of them are computed again."""
        self.kv_cache.discard_filled()
        ended: list[tuple[Request, list[int]]] = []
        for item in output.scheduled:
            request = self._requests[item.request_id]
            if media_keys is None or any(key in media_keys for key in request.media):
                self._fail(request, Failure("failed", message))
                ended.append((request, []))
            else:
                # It may have taken blocks as computed that this step was to compute.
                self._preempt(request, output)
        return ended

    def _is_shown_again(self, media_key: str) -> bool:
        """Whether a running request shows an image again after another, and may need it encoded
        again: were it asked for then, two that don't fit together could take turns for ever."""
        return any(r.shows_again(media_key) for r in self.running if media_key in r.media)

    def _goes_before(self, candidate: Request, position: int) -> bool:
        if position == len(self.running):
            return len(self.running) < self._max_num_seqs
        return candidate.rank < self.running[position].rank

    def _admit(self, request: Request, position: int, output: SchedulerOutput) -> bool:
        """Start a waiting request, preempting worse ones if need be, or park it; False if it must
        wait, and others with it."""
        if len(self.running) == self._max_num_seqs:
            self._preempt(self.running[-1], output)
        matched = self.kv_cache.match_prefix(request)
        request.num_computed_tokens = matched
        lacking = self._lacking(request)
        if lacking:
            self.waiting.remove(request)
            self._clear(request)
            self._parked.add(request, lacking)
            return True
        chunk = self._cut_chunk(request)
        while chunk and not self.kv_cache.allocate(request, chunk):
            if position == len(self.running):
                chunk = 0
            else:
                self._preempt(self.running[-1], output)
        if not chunk:
            self._clear(request)
            return False
        if not request.timings.first_scheduled:
            request.num_cached_tokens = request.num_charged_tokens = matched
            self._stats.prefix_cache_queries += request.num_prompt_tokens
            self._stats.prefix_cache_hits += matched
        self.waiting.start(request)
        request.transition(RequestStatus.RUNNING)
        self.running.add(request)
        self._schedule(request, chunk, output)
        return True

    def _continue(self, request: Request, position: int, output: SchedulerOutput) -> int:
        """Schedule a running request, preempting the worst for it; 0 if that is itself, or if it
        had to be parked."""
        lacking = self._lacking(request)
        if lacking:
            self._stop(request)
            self._parked.add(request, lacking)
            return 0
        chunk = self._cut_chunk(request)
        while chunk and not self.kv_cache.allocate(request, chunk):
            self._preempt(self.running[-1], output)
            if len(self.running) == position:
                return 0
        if chunk:
            self._schedule(request, chunk, output)
        return 1

    def _schedule(self, request: Request, chunk: int, output: SchedulerOutput) -> None:
        self._budget -= chunk
        self._prefilling = self._prefilling or chunk > 1
        if not request.announced:
            request.announced = True
            output.new.append(request.announce())
        blocks = self.kv_cache.take_new_block_ids(request)
        output.scheduled.append(request.next_chunk(chunk, *blocks))
        self.waiting.charge(request, request.num_computed_tokens + chunk)

    def _cut_chunk(self, request: Request) -> int:
        """How many tokens to compute next: within the budget, before an image that does not fit
        the encoder cache now, and never a part of a bidirectional run. Images inside the chunk
        are pinned."""
        start = request.num_computed_tokens
        end = start + min(request.num_tokens - start, self._budget)
        if request.bidirectional:
            end = self._without_cut(request, start, end)
        for span in request.spans_within(start, end):
            size = self._feature_bytes(request.media[span.media_key])
            pinned = self.encoder_cache.pin(span.media_key, size, request.request_id)
            if not pinned or not self._can_encode(span.media_key):
                # Making room for one image of the chunk may have evicted this one.
                self.encoder_cache.unpin(span.media_key, request.request_id)
                run = request.run_around(span.offset)
                return max(0, (run[0] if run else span.offset) - start)
        return end - start

    def _can_encode(self, media_key: str) -> bool:
        """Whether a pinned image is encoded, or could be."""
        there = not self.encoder_cache.needs_encoding(media_key)
        return there or bool(self._inbox.find(media_key))

    def _lacking(self, request: Request) -> set[str]:
        """The images that its tokens still to be computed show, neither encoded nor in the
        inbox."""
        ahead = request.spans_within(request.num_computed_tokens, request.media_end)
        if not ahead:
            return set()
        keys = {span.media_key for span in ahead}
        return {k for k in keys if not self.encoder_cache.holds(k) and not self._inbox.find(k)}

    def _without_cut(self, request: Request, start: int, end: int) -> int:
        """`end`, or that of the bidirectional run around it if the step has no other prefill, or
        else its start. Were the budget held, a run could wait for as long as others decode."""
        run = request.run_around(end)
        if run is None:
            return end
        return run[1] if run[0] <= start and not self._prefilling else max(start, run[0])

    def _feature_bytes(self, media: MediaInput) -> int:
        return media.num_features * self._bytes_per_feature

    def _collect_encodes(self, output: SchedulerOutput) -> list[MediaInput]:
        wanted: dict[str, MediaInput] = {}
        for item in output.scheduled:
            for run in item.images:
                if self.encoder_cache.needs_encoding(run.media_key):
                    media = self._inbox.find(run.media_key)
                    assert media is not None
                    wanted[run.media_key] = media
        return list(wanted.values())

    def _append(self, request: Request, sampled: SampledTokens) -> list[int]:
        """Take tokens in, up to one that ends the answer; returns those taken."""
        if sampled.failure is not None:
            self._fail(request, sampled.failure)
            return []
        if not request.num_output_tokens:
            request.timings.first_token = time.monotonic()
        known = request.num_tokens
        limit = self.kv_cache.recompute_beyond
        last = len(sampled.token_ids) - 1
        for index, token_id in enumerate(sampled.token_ids):
            request.token_ids.append(token_id)
            status = self._stop_status(request, token_id)
            if sampled.ended and index == last:
                status = RequestStatus.FINISHED_COMPLETE
            if status is not None:
                self.finish(request.request_id, status)
                break
        else:
            if limit is not None and known <= limit < request.num_tokens:
                self._recompute(request)
        taken = request.token_ids[known:]
        if sampled.logprobs:
            request.new_logprobs += sampled.logprobs[: len(taken)]
        return taken

    def _stop_status(self, request: Request, token_id: int) -> RequestStatus | None:
        params = request.sampling_params
        num_output_tokens = request.num_output_tokens
        if num_output_tokens >= params.min_tokens:
            if token_id in params.stop_token_ids:
                request.stop_token_id = token_id
                return RequestStatus.FINISHED_STOPPED
            if token_id in self._eos_token_ids and not params.ignore_eos:
                return RequestStatus.FINISHED_STOPPED
        limit = params.max_tokens
        reached_limit = limit is not None and num_output_tokens >= limit
        if reached_limit or request.num_tokens >= self._max_model_len:
            return RequestStatus.FINISHED_LENGTH
        return None

    def _note_sources(
        self,
        request: Request,
        item: ScheduledRequest,
        sources: dict[str, str],
        encode_seconds: float,
    ) -> None:
        """Where the features of a chunk came from. sources: of images that were not in the encoder
        cache before the step, in which the encoder took so long."""
        keys = {run.media_key for run in item.images}
        for key in keys:
            request.image_sources.setdefault(key, sources.get(key, "engine"))
        if not request.num_output_tokens and any(sources.get(key) == "encoded" for key in keys):
            request.timings.encode += encode_seconds

    def _unpin_passed(self, request: Request, item: ScheduledRequest) -> None:
        """Unpin images whose tokens are all computed. One that is shown again further on, after
        another, is unpinned too: a request that held it while waiting for room for the other
        could wait forever."""
        ahead = next((span for span in request.spans if span.end > item.end), None)
        for key in {run.media_key for run in item.images}:
            if ahead is None or key != ahead.media_key:
                self.encoder_cache.unpin(key, request.request_id)

    def _preempt(self, request: Request, output: SchedulerOutput) -> None:
        self._stop(request)
        self.waiting.add(request)
        output.preempted.append(request.request_id)

    def _recompute(self, request: Request) -> None:
        """What it has computed is of no use to it any more, since it has grown; see
        `KVCacheSpec.recompute_beyond`."""
        self._stop(request)
        request.block_hashes.clear()
        self.waiting.add(request)

    def _stop(self, request: Request) -> None:
        self._clear(request)
        self.running.remove(request)
        request.transition(RequestStatus.PREEMPTED)

    def _clear(self, request: Request) -> None:
        """Take what it holds and has computed from a request."""
        self._free(request)
        request.num_computed_tokens = 0

    def _fail(self, request: Request, failure: Failure) -> None:
        request.failure = failure
        self.finish(request.request_id, RequestStatus.FINISHED_ERROR)

    def _free(self, request: Request) -> None:
        self.kv_cache.free(request)
        for key in request.media:
            self.encoder_cache.unpin(key, request.request_id)

    def check_integrity(self) -> None:
        """Raise AssertionError if queues, states and caches disagree."""
        self.kv_cache.check_integrity()
        self.encoder_cache.check_integrity()
        self._inbox.check_integrity(self._requests)
        self.waiting.check_integrity()
        live = [*self.waiting, *self.running, *self._parked, *self._held.values()]
        assert len(live) == len(self._requests) == len(set(map(id, live)))
        assert len(self.running) <= self._max_num_seqs
        assert all(r.status is RequestStatus.RUNNING for r in self.running)
        assert all(
            r.num_computed_tokens == 0 for r in (*self.waiting, *self._parked, *self._held.values())
        )
        if not live:
            assert self.kv_cache.num_free_blocks == self.kv_cache.pool.num_blocks
            assert self.encoder_cache.pinned_bytes == 0


def _source_of(media: MediaInput) -> str:
    """See RequestOutput.image_sources."""
    return media.payload.source if isinstance(media.payload, FeatureInput) else "encoded"
