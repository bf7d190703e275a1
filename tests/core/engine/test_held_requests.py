"""Requests whose grammar is being compiled wait for it, and nobody waits with them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from octavo import LLM, SamplingParams, StructuredOutputsParams
from octavo.core.engine.engine_core import EngineCore
from octavo.core.protocol.messages import Abort, EngineOutput, EngineRequest
from octavo.core.registry.registry import get_registry
from octavo.plugin import GrammarError, GrammarSource, GrammarSpec
from octavo.plugins.grammars.llguidance.backend import LLGuidanceBackend, LLGuidanceGrammar


class Slow(LLGuidanceBackend):
    """A backend that compiles nothing before it is let, and then not everything."""

    go_on: ClassVar[threading.Event]
    compiled: ClassVar[list[str]]

    def compile(self, source: GrammarSource) -> LLGuidanceGrammar:
        assert self.go_on.wait(60)
        self.compiled.append(source.text)
        if source.text == "bad":
            raise GrammarError("it is bad")
        return super().compile(source)


@pytest.fixture
def core(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineCore]:
    Slow.go_on, Slow.compiled = threading.Event(), []
    spec = GrammarSpec(name="slow", load=f"{__name__}:Slow")
    monkeypatch.setitem(get_registry().grammars, "slow", spec)
    llm = LLM(checkpoints["llama"], max_model_len=128, structured_outputs_backend="slow")
    yield llm._core
    Slow.go_on.set()
    llm.close()


def request(name: str, regex: str | None, n: int = 1) -> EngineRequest:
    form = None if regex is None else StructuredOutputsParams(regex=regex)
    ignores = form is None
    params = SamplingParams(
        temperature=0, max_tokens=3, n=n, structured_outputs=form, ignore_eos=ignores
    )
    return EngineRequest(name, [1, 5, 6], params, [], [], 0.0)


def run(core: EngineCore) -> dict[str, EngineOutput]:
    """The last output of each request, once nothing is left to do."""
    ended = {}
    while core.has_unfinished():
        for output in core.step():
            if output.finish_reason is not None:
                ended[output.request_id] = output
        core.check_integrity()
    return ended


def test_others_go_on_meanwhile(core: EngineCore) -> None:
    core.add(request("held", "[a-z]{2}", n=2))
    core.add(request("free", None))
    ended: list[EngineOutput] = []
    while not ended:
        ended += [output for output in core.step() if output.finish_reason]
    assert [output.request_id for output in ended] == ["free"]
    assert core.stats().num_requests_waiting == 2
    assert core.has_work()
    Slow.go_on.set()
    assert run(core)["held"].finish_reason in ("stop", "length")


def test_one_that_ends_while_it_is_held(core: EngineCore) -> None:
    core.add(request("held", "[a-z]{2}"))
    core.step()
    core.abort(Abort("held"))
    assert not core.has_unfinished()
    core.step()
    Slow.go_on.set()
    core.add(request("after", "[a-z]{2}"))
    assert set(run(core)) == {"after"}


def test_one_that_cannot_be_compiled(core: EngineCore) -> None:
    core.add(request("bad", "bad", n=2))
    core.add(request("good", "[a-z]{2}"))
    Slow.go_on.set()
    ended = run(core)
    failure = ended["bad"].failure
    assert failure is not None
    assert (failure.kind, failure.message) == ("invalid", "it is bad")
    assert ended["good"].failure is None


def test_requests_with_the_same_grammar_share_it(core: EngineCore) -> None:
    for name in ("first", "second"):
        core.add(request(name, "[a-z]{2}"))
    Slow.go_on.set()
    run(core)
    core.add(request("third", "[a-z]{2}"))
    run(core)
    assert Slow.compiled == ["[a-z]{2}"]
