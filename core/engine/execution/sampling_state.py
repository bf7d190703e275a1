"""What the sampler keeps of a request between steps."""

from __future__ import annotations

import random

import torch

from ...contracts.interfaces import LogitsProcessor
from ...protocol.scheduler_output import NewRequest
from .grammars.masks import GrammarState
from .penalties import TokenHistory

_NUM_SEEDS = 2**64


class SamplingState:
    """output_token_ids: what was sampled for it so far.
    automaton_state: where that has led its token_automaton, if it has one.
    grammar: where it is in its structured_outputs' grammar, if it has one.
    processors: of plugins, by name, once they are used.
    """

    def __init__(self, new: NewRequest, grammar: GrammarState | None = None) -> None:
        self.params = new.sampling_params
        self._prompt_token_ids = new.prompt_token_ids
        self.bad_word_ids = new.bad_word_ids
        self.output_token_ids: list[int] = []
        self.automaton_state = 0
        self.grammar = grammar
        self.processors: dict[str, LogitsProcessor] = {}
        self._always_changed = new.sampling_params.changes_logits or bool(new.bad_word_ids)
        self._random: random.Random | None = None
        self._history: TokenHistory | None = None

    @property
    def prompt_token_ids(self) -> list[int]:
        """What settings that look at the prompt see; these say so."""
        assert self._prompt_token_ids is not None, "SamplingParams.reads_prompt is False"
        return self._prompt_token_ids

    def append(self, token_id: int) -> None:
        """A token was sampled."""
        self.output_token_ids.append(token_id)
        if self.params.token_automaton is not None:
            state = self.automaton_state
            self.automaton_state = self.params.token_automaton.after(state, token_id)
        if self.grammar is not None:
            self.grammar.accept(token_id)
        if self._history is not None:
            self._history.add(token_id)

    @property
    def changes_logits(self) -> bool:
        """Whether its settings, a grammar apart, change the logits of the next token."""
        return self._always_changed or len(self.output_token_ids) < self.params.min_tokens

    @property
    def room(self) -> int | None:
        """Tokens that the answer may still have; None without a limit."""
        limit = self.params.max_tokens
        return None if limit is None else limit - len(self.output_token_ids)

    @property
    def random(self) -> random.Random:
        """The request's own stream of random numbers."""
        if self._random is None:
            seed = self.params.seed
            # Random takes a seed without its sign.
            self._random = random.Random(None if seed is None else seed % _NUM_SEEDS)
        return self._random

    def history(self, vocab_size: int, device: torch.device) -> TokenHistory:
        """What the request has seen, for its penalties."""
        if self._history is None:
            self._history = TokenHistory(
                self.prompt_token_ids, self.output_token_ids, vocab_size, device
            )
        return self._history
