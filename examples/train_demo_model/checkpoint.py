"""Keeps a run's state on disk, so that one which was cut goes on where it was."""

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from optimiser import Average
from torch import nn

SECONDS_BETWEEN = 60.0


class Checkpoint:
    """A stage's module, optimisers and average in one file, and the time that it has run.

    The random generators are not kept: a run that goes on draws other pictures from there.
    """

    def __init__(
        self,
        path: Path,
        module: nn.Module,
        optimisers: Sequence[torch.optim.Optimizer],
        average: Average,
    ) -> None:
        self.path = path
        self.module = module
        self.optimisers = optimisers
        self.average = average
        self.saved = time.monotonic()

    def load(self) -> tuple[float, int]:
        """Restores the state, where there is one; the seconds and steps done so far."""
        if not self.path.exists():
            return 0.0, 0
        state = torch.load(self.path, weights_only=True)
        self.module.load_state_dict(state["module"])
        for optimiser, kept in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(kept)
        self.average.weights, self.average.steps = state["average"], state["steps"]
        print(f"goes on after {state['seconds'] / 60:.1f} min, step {state['steps']}", flush=True)
        return state["seconds"], state["steps"]

    def save(self, seconds: float) -> None:
        """Writes the state after so many seconds of training; never leaves half a file."""
        state = {
            "module": self.module.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "average": self.average.weights,
            "steps": self.average.steps,
            "seconds": seconds,
        }
        made = self.path.with_suffix(".tmp")
        torch.save(state, made)
        made.replace(self.path)

    def save_sometimes(self, seconds: float) -> None:
        """Writes the state if the last time was a minute ago."""
        if time.monotonic() - self.saved > SECONDS_BETWEEN:
            self.saved = time.monotonic()
            self.save(seconds)
