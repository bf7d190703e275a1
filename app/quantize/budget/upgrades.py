"""Which of several options each of many things gets, for the least loss at a cost that is given."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """cost: in bits. loss: of any unit that all share."""

    cost: int
    loss: float


def choose_options(things: Sequence[Sequence[Option]], most: int) -> list[int]:
    """The index of each thing's option; all together cost at most `most`, as the cheapest must.

    Greedy, for the multiple-choice knapsack problem: all begin with the cheapest, and the change
    that saves the most loss for its cost comes first (Kellerer, Pferschy and Pisinger, "Knapsack
    Problems", 2004, chapter 11). What is lost to the best choice is at most what one change saves.
    """
    chosen = [min(range(len(each)), key=lambda i: each[i].cost) for each in things]
    left = most - sum(each[i].cost for each, i in zip(things, chosen, strict=True))
    waiting: list[tuple[float, int, int]] = []

    def consider(thing: int) -> None:
        """Have the best change of a thing wait, of those that fit."""
        each, now = things[thing], things[thing][chosen[thing]]
        rates = [
            ((now.loss - option.loss) / (option.cost - now.cost), index)
            for index, option in enumerate(each)
            if now.cost < option.cost <= now.cost + left and option.loss < now.loss
        ]
        if rates:
            rate, index = max(rates)
            heapq.heappush(waiting, (-rate, thing, index))

    for thing in range(len(things)):
        consider(thing)
    while waiting:
        _, thing, index = heapq.heappop(waiting)
        cost = things[thing][index].cost - things[thing][chosen[thing]].cost
        # Others that came before may have left too little for it.
        if cost <= left:
            chosen[thing] = index
            left -= cost
        consider(thing)
    return chosen
