"""The index tensors of a step, against the same worked out token by token."""

from __future__ import annotations

import random

import msgspec
import pytest
import torch
from octavo.core.engine.execution.input_batch import InputBatch, build_input_batch
from octavo.core.engine.execution.sequence_state import SequenceState
from octavo.core.engine.scheduling.request import Request
from octavo.core.protocol.scheduler_output import ScheduledRequest
from scheduling import make_request, span

BLOCK_SIZE = 4


#: A request, its chunk and what the runner knows of it.
Chunk = tuple[Request, ScheduledRequest, SequenceState]


def make_chunk(request: Request, start: int, num_tokens: int, block_ids: list[int]) -> Chunk:
    request.num_computed_tokens = start
    item = request.next_chunk(num_tokens, 0, block_ids)
    state = SequenceState(request.announce())
    state.place_blocks(item.first_block, item.block_ids)
    return request, item, state


def random_chunk(rng: random.Random, name: str) -> Chunk:
    """Some of a request's tokens, and its blocks, of which there may be more than needed."""
    length = rng.randrange(1, 40)
    tokens = [rng.randrange(1000) for _ in range(length)]
    (request,) = make_request(name, tokens, [], 5)
    start = rng.randrange(length)
    num_tokens = rng.randrange(1, length - start + 1)
    num_blocks = -(-(start + num_tokens) // BLOCK_SIZE) + rng.randrange(2)
    return make_chunk(request, start, num_tokens, [rng.randrange(500) for _ in range(num_blocks)])


def build(chunks: list[Chunk]) -> InputBatch:
    _, items, states = zip(*chunks, strict=True)
    return build_input_batch(items, states, BLOCK_SIZE, torch.device("cpu"))


@pytest.mark.parametrize("seed", range(8))
def test_against_single_tokens(seed: int) -> None:
    rng = random.Random(seed)
    chunks = [random_chunk(rng, f"r{i}") for i in range(rng.choice([1, 2, 9]))]
    batch = build(chunks)
    token_ids, positions, slots, sample_rows = [], [], [], []
    for request, item, state in chunks:
        table = state.block_table
        for position in range(item.start, item.start + item.num_tokens):
            token_ids.append(request.token_ids[position])
            positions.append(position)
            block, offset = divmod(position, BLOCK_SIZE)
            slots.append(table[block] * BLOCK_SIZE + offset)
        if item.start + item.num_tokens == len(request.token_ids):
            sample_rows.append(len(token_ids) - 1)
    assert batch.token_ids.tolist() == token_ids
    assert batch.positions.tolist() == positions
    assert batch.sample_rows.tolist() == sample_rows
    metadata = batch.metadata
    assert metadata.slot_mapping.tolist() == slots
    lengths = [item.num_tokens for _, item, _ in chunks]
    ends = [item.start + item.num_tokens for _, item, _ in chunks]
    assert metadata.query_start_loc.tolist() == [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    assert metadata.seq_lens.tolist() == list(metadata.context_lens) == ends
    assert metadata.query_lens == tuple(lengths)
    for row, (_, _, state) in zip(metadata.block_table.tolist(), chunks, strict=True):
        table = state.block_table
        assert row == [*table, *[0] * (len(row) - len(table))]
    assert {t.dtype for t in vars(metadata).values() if isinstance(t, torch.Tensor)} == {
        torch.int64
    }
    assert {type(n) for n in (*metadata.query_lens, *metadata.context_lens)} == {int}
    assert metadata.bidirectional is None
    if len(sample_rows) == len(token_ids):
        assert metadata.output_rows is None
    else:
        assert metadata.output_rows is not None
        assert metadata.output_rows.tolist() == sample_rows


def test_the_output_of_all_tokens_is_wanted_for_log_probabilities_of_a_prompt() -> None:
    (plain,) = make_request("plain", [3] * 3, [], 5)
    (asks,) = make_request("asks", [3] * 7, [], 5)
    assert build([whole(plain), whole(asks)]).metadata.output_rows is not None
    asks.sampling_params = msgspec.structs.replace(asks.sampling_params, prompt_logprobs=1)
    assert build([whole(plain), whole(asks)]).metadata.output_rows is None
    assert build([whole(plain, 2)]).metadata.output_rows is None


def whole(request: Request, start: int = 0) -> Chunk:
    return make_chunk(request, start, request.num_tokens - start, list(range(9)))


def test_a_token_of_a_bidirectional_run_sees_all_of_it() -> None:
    (plain,) = make_request("plain", [3] * 3, [], 5)
    (image,) = make_request("image", [3] * 7, [], 5, bidirectional=[(0, 1), (2, 5)])
    visible = build([whole(plain, 1), whole(image, 1)]).metadata.bidirectional
    assert visible is not None
    expected = [[1, 2], [2, 3], [1, 2], [2, 5], [2, 5], [2, 5], [5, 6], [6, 7]]
    assert visible.tolist() == expected


def test_positions_in_height_and_width() -> None:
    """Beside a request of text, whose three positions are one."""
    (plain,) = make_request("plain", [3] * 3, [], 5)
    (image,) = make_request("image", [3] * 8, [span(1, 6, "a")], 5)
    image.media["a"] = msgspec.structs.replace(image.media["a"], grid=(2, 3))
    positions = build([whole(plain), whole(image)]).positions
    assert positions.tolist() == [
        [0, 1, 2, 0, 1, 1, 1, 1, 1, 1, 4],
        [0, 1, 2, 0, 1, 1, 1, 2, 2, 2, 4],
        [0, 1, 2, 0, 1, 2, 3, 1, 2, 3, 4],
    ]


def test_a_block_table_grows_and_begins_anew() -> None:
    (request,) = make_request("r", [3] * 30, [], 5)
    _, _, state = make_chunk(request, 0, 8, [5, 7])
    for first, block_ids, expected in [
        (2, [9], [5, 7, 9]),
        (0, [4], [4]),
        (1, [8, 6], [4, 8, 6]),
    ]:
        state.place_blocks(first, block_ids)
        assert list(state.block_table) == expected
