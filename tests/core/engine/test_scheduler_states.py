"""Random operations on the scheduler, its caches and the sampler: nothing leaks, everything ends,
and each answer is what an undisturbed one would be."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from numpy.typing import NDArray
from octavo.core.engine.execution.grammars.compiler import CompiledGrammar, GrammarCompiler
from octavo.core.engine.execution.sampler import Sampler
from octavo.core.engine.scheduling.request import Request, RequestStatus
from octavo.core.engine.scheduling.scheduler import Scheduler
from octavo.core.prompts.vocabulary import Vocabulary
from octavo.core.protocol.constraints.structured_outputs import StructuredOutputsParams
from octavo.core.protocol.messages import MediaSpan
from octavo.core.protocol.scheduler_output import ScheduledRequest, SchedulerOutput, StepResult
from octavo.core.registry.registry import get_registry
from octavo.kernels.dispatch import resolve_kernels
from scheduling import BUDGET, make_request, make_scheduler, span, supply_wanted

VOCAB, EOS = 40, 2
#: Token 10 is "a"; those from 36 on are longer.
VOCABULARY = Vocabulary(
    [b""] * 10 + [bytes([97 + i]) for i in range(26)] + [b"ab", b"bc", b"cab", b"aa"], None, VOCAB
)
FORMS = ("(ab|c[d-f]b?){2,4}", "[a-c]*", "a{3}b{3}", "(cab|aa|x)+z?")
GRAMMARS = GrammarCompiler(get_registry().grammar_by_name("llguidance"), lambda: VOCABULARY)


def plausible_logits(token_ids: Sequence[int]) -> torch.Tensor:
    """What a fake model says, [VOCAB]: a function of the tokens before, so that a preempted request
    can be held against an undisturbed one."""
    rng = random.Random(str(token_ids[-3:]))
    return torch.tensor([-math.inf, -math.inf, *(rng.random() for _ in range(VOCAB - 2))])


def allowed_after(compiled: CompiledGrammar, token_ids: Sequence[int]) -> torch.Tensor:
    """Which tokens may follow by the grammar, as one says that begins anew, [VOCAB]."""
    matcher = compiled.grammar.matcher()
    assert all(matcher.accept(token_id) for token_id in token_ids)
    allowed = as_bools(compiled.backend.mask([matcher]).bitmask)
    allowed[EOS] = matcher.may_end
    return allowed


def as_bools(bitmask: NDArray[np.int32]) -> torch.Tensor:
    bits = np.unpackbits(bitmask.view(np.uint8), bitorder="little")
    return torch.from_numpy(bits[:VOCAB].astype(bool))


def make_sampler() -> Sampler:
    kernels = resolve_kernels()
    return Sampler(
        torch.device("cpu"),
        kernels.sample_top_k_top_p,
        kernels.mask_tokens,
        [EOS],
        grammars=GRAMMARS,
    )


@dataclass
class FakeEngine:
    """A scheduler with a model that computes nothing but checks that it could have, from what it
    was told."""

    scheduler: Scheduler
    sampler: Sampler = field(default_factory=make_sampler)
    ended: list[Request] = field(default_factory=list)
    features: set[str] = field(default_factory=set)
    #: Block tables of the requests that it knows.
    tables: dict[str, list[int]] = field(default_factory=dict)
    #: What each KV slot holds: the whole sequence up to and with its token.
    slots: dict[int, tuple[object, ...]] = field(default_factory=dict)

    def step(self, fails: bool = False) -> SchedulerOutput:
        output = self.scheduler.schedule()
        running = {request.request_id: request for request in self.scheduler.running}
        chunks = [(item, running[item.request_id]) for item in output.scheduled]
        # Beside those that only decode, one bidirectional run may go beyond the budget.
        overrun = any(request.bidirectional for _, request in chunks)
        assert output.num_tokens <= BUDGET + overrun * len(output.scheduled)
        assert not any(request.run_around(item.end) for item, request in chunks), "cut"
        self._follow(output)
        for item, request in chunks:
            self._check(item, request)
        if fails:
            self.ended += [request for request, _ in self.scheduler.fail(output, "injected")]
            return output
        for media in output.encode:
            assert media.media_key not in self.features, "encoded twice"
            self.features.add(media.media_key)
        # All keys are written before any token attends.
        for item, request in chunks:
            self._write(item, request)
        for item, request in chunks:
            self._attend(item, request)
        sampling = [request for item, request in chunks if item.samples]
        sampled = {}
        if sampling:
            logits = torch.stack([plausible_logits(request.token_ids) for request in sampling])
            sampled = self.sampler.sample(logits, [request.request_id for request in sampling])
        updated = self.scheduler.update(output, StepResult(sampled))
        self.ended += [request for request, _ in updated if request.status.finished]
        return output

    def _follow(self, output: SchedulerOutput) -> None:
        """What an executor does with what it is told."""
        for request_id in output.ended:
            del self.tables[request_id]
            self.sampler.forget(request_id)
        for new in output.new:
            assert new.request_id not in self.tables, "told twice"
            self.tables[new.request_id] = []
            self.sampler.add(new)
        self.features -= set(output.evicted_media)
        for item in output.scheduled:
            if item.block_ids:
                self.tables[item.request_id][item.first_block :] = item.block_ids

    def _check(self, item: ScheduledRequest, request: Request) -> None:
        """What was told of a chunk is true of the request."""
        assert self.tables[item.request_id] == self.scheduler.kv_cache.block_ids(request)
        assert item.token_ids == request.token_ids[item.start : item.end]
        assert item.samples == (item.end == request.num_tokens)
        told = {
            item.start + run.offset + i: (run.media_key, run.feature_start + i)
            for run in item.images
            for i in range(run.length)
        }
        assert told == {
            position: (shown.media_key, shown.feature_start + position - shown.offset)
            for shown in request.spans
            for position in range(max(shown.offset, item.start), min(shown.end, item.end))
        }

    def _write(self, item: ScheduledRequest, request: Request) -> None:
        assert all(run.media_key in self.features for run in item.images), "no features"
        table = self.tables[item.request_id]
        for position in range(item.start, item.end):
            self.slots[table[position // 4] * 4 + position % 4] = self._contents(request, position)

    def _attend(self, item: ScheduledRequest, request: Request) -> None:
        table = self.tables[item.request_id]
        for position in range(item.end):
            slot = table[position // 4] * 4 + position % 4
            assert self.slots.get(slot) == self._contents(request, position), "another's keys"

    def _contents(self, request: Request, position: int) -> tuple[object, ...]:
        shown = tuple(
            (s.offset, s.media_key, s.feature_start) for s in request.spans if s.offset <= position
        )
        run = request.run_around(position + 1)
        known = run[1] if run else position + 1
        return (request.cache_salt, tuple(request.token_ids[:known]), shown)


class SchedulerLives(RuleBasedStateMachine):
    """Requests with images, priorities and timeouts come, go, fail and are preempted."""

    def __init__(self) -> None:
        super().__init__()
        self.added: list[Request] = []
        self.held: list[Request] = []
        self.now = 0.0

    @initialize(
        policy=st.sampled_from(["fcfs", "priority"]),
        num_blocks=st.integers(16, 24),
        encoder_bytes=st.integers(5, 16),
        max_num_seqs=st.integers(1, 5),
        attention=st.sampled_from(["causal", "bidirectional", "prefix"]),
    )
    def start(
        self, policy: str, num_blocks: int, encoder_bytes: int, max_num_seqs: int, attention: str
    ) -> None:
        self.attention = attention
        scheduler = make_scheduler(
            num_blocks, encoder_bytes=encoder_bytes, max_num_seqs=max_num_seqs, policy=policy
        )
        self.engine = FakeEngine(scheduler)

    @rule(
        seed=st.integers(0, 3),
        length=st.integers(1, 40),
        images=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), max_size=4),
        limit=st.integers(1, 24),
        priority=st.integers(-1, 1),
        client=st.sampled_from("abc"),
        salt=st.sampled_from(["", "", "pepper"]),
        timeout=st.sampled_from([None, None, 3.0]),
        queue_timeout=st.sampled_from([None, None, 2.0]),
        sent=st.booleans(),
        form=st.sampled_from([None, *FORMS]),
        held=st.booleans(),
    )
    def add(
        self,
        seed: int,
        length: int,
        images: list[tuple[int, int]],
        limit: int,
        priority: int,
        client: str,
        salt: str,
        timeout: float | None,
        queue_timeout: float | None,
        sent: bool,
        form: str | None,
        held: bool,
    ) -> None:
        rng = random.Random(seed)
        tokens = [rng.randrange(3, 40) for _ in range(length)]
        spans, position = [], 0
        for gap, key in images:
            # Every image has two runs of tokens, with one of text between.
            for start, size, feature in ((position + gap, 3, 0), (position + gap + 4, 2, 3)):
                spans.append(span(start, size, f"image{key}", feature))
                position = spans[-1].end
        whole = len([s for s in spans if s.end <= length]) // 2 * 2
        (request,) = make_request(
            f"r{len(self.added)}",
            tokens,
            spans[:whole],
            limit,
            priority=priority,
            client=client,
            cache_salt=salt,
            timeout=timeout,
            queue_timeout=queue_timeout,
            arrival_time=self.now,
            bidirectional=self.runs(tokens, spans[:whole]),
            sent=sent,
            form=None if form is None else StructuredOutputsParams(regex=form),
        )
        if self.attention == "prefix":
            request.cache_salt = f"{salt} {tokens} {spans[:whole]}"
        try:
            self.engine.scheduler.add(request, held)
        except ValueError:
            features = 5 * len(request.media)
            assert length > BUDGET or features > self.engine.scheduler.encoder_cache.capacity
        else:
            self.added.append(request)
            self.held += [request] if held else []

    def runs(self, tokens: list[int], spans: list[MediaSpan]) -> list[tuple[int, int]]:
        if self.attention == "prefix":
            return [(0, len(tokens))]
        return [(s.offset, s.end) for s in spans] if self.attention == "bidirectional" else []

    @rule(fails=st.sampled_from([False] * 4 + [True]))
    def step(self, fails: bool) -> None:
        self.engine.step(fails)

    @rule()
    def several_steps(self) -> None:
        for _ in range(8):
            self.engine.step()

    @rule()
    def wanted_images_come(self) -> None:
        if self.added:
            supply_wanted(self.engine.scheduler)

    @rule()
    def what_is_held_is_ready(self) -> None:
        for request in self.held:
            self.engine.scheduler.release(request.request_id)
        self.held.clear()

    @rule(choice=st.integers(0, 10**6))
    def abort(self, choice: int) -> None:
        if self.added:
            request = self.added[choice % len(self.added)]
            ended = self.engine.scheduler.finish(request.request_id, RequestStatus.FINISHED_ABORTED)
            self.engine.ended += [ended] if ended else []

    @rule(seconds=st.floats(0.1, 2.5))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        expired = self.engine.scheduler.expire(self.now)
        self.engine.ended += expired
        assert all(request.failure is not None for request in expired)

    @invariant()
    def integrity(self) -> None:
        if self.added:
            self.engine.scheduler.check_integrity()

    @invariant()
    def grammars_are_where_their_tokens_lead(self) -> None:
        for request in self.added:
            state = self.engine.sampler._states.get(request.request_id)
            if state is not None and state.grammar is not None and not request.status.finished:
                grammar, ids = state.grammar, request.token_ids[request.num_prompt_tokens :]
                self.engine.sampler._masks.wait([grammar])
                expected = allowed_after(self.compiled(request), ids)
                assert torch.equal(as_bools(grammar.bitmask), expected)

    def compiled(self, request: Request) -> CompiledGrammar:
        form = request.sampling_params.structured_outputs
        assert form is not None
        return GRAMMARS.compile(form.source).result()

    def teardown(self) -> None:
        """Nobody starves: everything that is left ends."""
        if not self.added:
            return
        self.what_is_held_is_ready()
        limit = 200 + 50 * len(self.added)
        for _ in range(limit):
            if not self.engine.scheduler.has_unfinished():
                break
            self.engine.step()
            supply_wanted(self.engine.scheduler)
        self.engine.scheduler.check_integrity()
        assert len(self.engine.ended) == len(self.added)
        assert all(request.status.finished for request in self.added)
        self.engine.step()
        assert not self.engine.tables, "not told of an end"
        self.check_outputs()

    def check_outputs(self) -> None:
        """Every token is what an undisturbed run gives."""
        for request in self.added:
            start = request.num_prompt_tokens
            for end in range(start, request.num_tokens):
                logits = plausible_logits(request.token_ids[:end])
                if request.sampling_params.structured_outputs is not None:
                    allowed = allowed_after(self.compiled(request), request.token_ids[start:end])
                    logits[~allowed] = -math.inf
                assert request.token_ids[end] == logits.argmax()


SchedulerLives.TestCase.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, derandomize=True
)
TestSchedulerLives = SchedulerLives.TestCase
