"""Muon for the matrices inside the blocks, AdamW for the rest, and a schedule by processor time."""

import math
from collections.abc import Iterable

import torch
from clock import busy_seconds
from precision import FAST_BFLOAT16
from torch import Tensor, nn


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """For each of a stack of matrices, about the nearest orthogonal one (Newton and Schulz)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    if FAST_BFLOAT16:
        x = x.bfloat16()
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).float()


def schedule(progress: float, steps: int) -> float:
    """The share of the full rate: a warm-up by steps, then a cosine by the clock."""
    warm = min(1.0, (steps + 1) / 100)
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal, scaled to the size of an Adam step."""

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float) -> None:
        shapes: dict[torch.Size, list[Tensor]] = {}
        for p in params:
            shapes.setdefault(p.shape, []).append(p)
        groups = [{"params": same} for same in shapes.values()]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "momentum": 0.95})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Updates every matrix once; matrices of one shape together."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            gradient = torch.stack([p.grad for p in params])
            state = self.state[params[0]]
            if not state:
                state["momentum"] = torch.zeros_like(gradient)
            state["momentum"].lerp_(gradient, 1 - group["momentum"])
            update = orthogonalise(gradient.lerp(state["momentum"], group["momentum"]))
            scale = group["lr"] * 0.2 * math.sqrt(max(params[0].shape))
            for p, change in zip(params, update, strict=True):
                p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(change * scale)


class Optimisers:
    """Both optimisers under one schedule: a warm-up, then a cosine over the minutes given."""

    def __init__(self, modules: dict[nn.Module, float], minutes: float) -> None:
        self.parts: list[torch.optim.Optimizer] = []
        self.rates: list[float] = []
        self.params: list[Tensor] = []
        for module, lr in modules.items():
            matrices, others = [], []
            for name, p in module.named_parameters():
                (matrices if p.ndim == 2 and "layers." in name else others).append(p)
            if matrices:
                self.parts.append(Muon(matrices, lr=lr, weight_decay=0.05))
                self.rates.append(lr)
            self.parts.append(
                torch.optim.AdamW(others, lr, (0.9, 0.98), weight_decay=0.02, foreach=True)
            )
            self.rates.append(lr)
            self.params += matrices + others
        self.seconds = minutes * 60
        self.start = busy_seconds()
        self.steps = 0

    def go_on(self, seconds: float, steps: int) -> None:
        """Starts the clock as if so much had been done already."""
        self.start = busy_seconds() - seconds
        self.steps = steps

    @property
    def elapsed(self) -> float:
        """The seconds of training so far."""
        return busy_seconds() - self.start

    @property
    def progress(self) -> float:
        """How much of the time is over, 0 to 1."""
        return min(1.0, self.elapsed / self.seconds)

    def step(self) -> None:
        """Sets the rate by the clock, clips, updates, and clears the gradients."""
        scale = schedule(self.progress, self.steps)
        nn.utils.clip_grad_norm_(self.params, 1.0)
        for part, rate in zip(self.parts, self.rates, strict=True):
            for group in part.param_groups:
                group["lr"] = rate * scale
            part.step()
            part.zero_grad(set_to_none=True)
        self.steps += 1


class Average:
    """An exponential moving average of a module's weights."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.weights = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Moves the average a little towards the module; faster in the beginning."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, value in module.state_dict().items():
            if value.dtype.is_floating_point:
                self.weights[name].lerp_(value, 1 - decay)
