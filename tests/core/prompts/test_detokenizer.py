"""Text that streams, against the text of all tokens at once; memory that is kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from octavo.app import DEMO_MODEL
from octavo.core.checkpoints.checkpoint import Checkpoint
from octavo.core.client.request_state import RequestState
from octavo.core.prompts.tokenizer import Tokenizer
from octavo.core.protocol.messages import EngineOutput, EngineRequest, TokenLogprobs
from octavo.core.protocol.sampling_params import SamplingParams
from tokenizer_kinds import CORPUS, KINDS, save_tokenizers
from transformers import AutoTokenizer

TOKENIZER = Tokenizer(Checkpoint("demo", Path(DEMO_MODEL)))


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return save_tokenizers(tmp_path_factory.mktemp("tokenizers"))


def state(**options: object) -> RequestState:
    params = SamplingParams(max_tokens=None, **options)  # type: ignore[arg-type]
    return RequestState(EngineRequest("r", [1], params, [], [], 0.0), TOKENIZER)


@settings(max_examples=60, deadline=None)
@given(token_ids=st.lists(st.integers(0, 1500), min_size=1, max_size=40))
def test_streamed_text_is_the_text_of_all_tokens(token_ids: list[int]) -> None:
    """As transformers decodes it; what was given out is never taken back."""
    request = state()
    seen = ""
    for i, token_id in enumerate(token_ids):
        reason = "length" if i == len(token_ids) - 1 else None
        request.update(EngineOutput("r", 0, [token_id], finish_reason=reason))
        text = request.to_output().outputs[0].text
        assert text.startswith(seen)
        seen = text
    whole = AutoTokenizer.from_pretrained(DEMO_MODEL)
    assert seen == whole.decode(token_ids, skip_special_tokens=True)


@pytest.mark.parametrize("kind", KINDS)
def test_what_goes_on_with_a_prompt_is_spaced_as_in_the_whole(
    tokenizers: dict[str, Path], kind: str
) -> None:
    """As transformers decodes both together."""
    checkpoint = Checkpoint("x", tokenizers[kind])
    whole = AutoTokenizer.from_pretrained(tokenizers[kind])
    texts = [text for text in CORPUS for _ in range(8)]
    num_compared = 0
    for i, text in enumerate(texts):
        ids = whole(text, add_special_tokens=False)["input_ids"]
        cut = 1 + i * (len(ids) - 2) // len(texts)
        params = SamplingParams(max_tokens=None)
        request = EngineRequest("r", ids[:cut], params, [], [], 0.0, continues_text=True)
        answer = RequestState(request, Tokenizer(checkpoint))
        for position in range(cut, len(ids)):
            reason = "length" if position == len(ids) - 1 else None
            answer.update(EngineOutput("r", 0, [ids[position]], finish_reason=reason))
        before, both = whole.decode(ids[:cut]), whole.decode(ids)
        # Characters may be cut, and tokenizers may take space back.
        if both.startswith(before):
            num_compared += 1
            assert answer.to_output().outputs[0].text == both[len(before) :]
    assert num_compared > len(texts) // 2


@settings(max_examples=60, deadline=None)
@given(
    text=st.text("ab é😀", min_size=1, max_size=40),
    stops=st.lists(st.text("ab é😀", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_stop_strings_end_the_text_where_they_begin(text: str, stops: list[str]) -> None:
    token_ids = TOKENIZER.encode_text(text)
    request = state(stop=tuple(stops))
    whole, aborted = TOKENIZER.decode(token_ids), False
    for i, token_id in enumerate(token_ids):
        reason = "length" if i == len(token_ids) - 1 else None
        request.update(EngineOutput("r", 0, [token_id], finish_reason=reason))
        aborted = request.to_output().outputs[0].finish_reason == "stop"
        if aborted:
            break
    completion = request.to_output().outputs[0]
    assert aborted == any(stop in whole for stop in stops)
    if not aborted:
        assert completion.text == whole
        return
    stop = completion.stop_reason
    assert isinstance(stop, str)
    assert whole.startswith(completion.text + stop)
    assert not any(s in (completion.text + stop)[:-1] for s in stops)


def test_log_probabilities_add_up() -> None:
    request = state(logprobs=0)
    for chosen in (-0.5, -1.25, -2.0):
        logprobs = [TokenLogprobs(chosen, 1, [], [])]
        request.update(EngineOutput("r", 0, [5], logprobs))
    assert request.to_output().outputs[0].cumulative_logprob == -3.75


FAULTS = """
import resource, sys
import numpy as np
from octavo.core.system.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
small = []
for i in range(30):
    logits = np.ones(1_500_000, dtype=np.float32)
    small.append(bytes(100))
    scaled = logits * 2
    del logits, scaled
    if i == 9:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_memory_of_a_step_is_not_given_back() -> None:
    """20 rounds take and free 12 MB each: without the setting some 3,000 page faults a round."""

    def faults(setting: str) -> int:
        command = [sys.executable, "-c", FAULTS, setting]
        return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    assert faults("kept") < 2_000 < faults("default")
