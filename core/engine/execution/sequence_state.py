"""What the model runner keeps of a request between steps."""

from __future__ import annotations

from array import array

from ...protocol.scheduler_output import NewRequest
from .grid_positions import GridPositions


class SequenceState:
    """block_table: ids of 64 bits, of the blocks that hold the sequence's keys and values.
    grid_positions: those of its tokens, if its images have height and width.
    num_top_logprobs: asked for of each token of the prompt, if any are; num_prompt_logprobs: of how
        many tokens they have been given; wants_prompt_logprobs: whether more are to come.
    """

    def __init__(self, new: NewRequest) -> None:
        self.block_table = array("q")
        self.grid_positions = (
            GridPositions(new.spans, new.grids, new.num_prompt_tokens) if new.grids else None
        )
        self.prompt_token_ids = new.prompt_token_ids or []
        self.num_top_logprobs = new.sampling_params.prompt_logprobs
        self.num_prompt_logprobs = 0
        self.wants_prompt_logprobs = False
        if self.num_top_logprobs is not None:
            # Entry of the first token, which nothing comes before.
            self.note_prompt_logprobs(1)

    def place_blocks(self, first: int, block_ids: list[int]) -> None:
        """The block table from index `first` on, and nothing after it."""
        del self.block_table[first:]
        self.block_table.extend(block_ids)

    def note_prompt_logprobs(self, count: int) -> None:
        """It has been given so many more."""
        self.num_prompt_logprobs += count
        self.wants_prompt_logprobs = self.num_prompt_logprobs < len(self.prompt_token_ids)
