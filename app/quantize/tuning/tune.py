"""Scales tuned end to end, by what the whole model says.

So does the second phase of EfficientQAT: Chen, Shao, Xu, Wang, Gao, Zhang, Luo and others,
"EfficientQAT: Efficient Quantization-Aware Training for Large Language Models", 2024
(https://arxiv.org/abs/2407.11062). What is made small here is no loss on a text but the KL
divergence from the plain model's predictions, so that a few samples teach nothing of their own.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ....core.protocol.config import ConfigError
from ....kernels.processor import has_bf16
from ..backward_passes import Stage, between, block_gradients, run_stage
from ..finished_blocks import FinishedBlocks
from ..forward_passes import ForwardPasses
from ..samples import Sample
from ..source_model import in_float32
from ..work_folder import WorkFolder
from .predictions import divergences, plain_outputs
from .result import TuningResult

#: One sample in so many is held out, at least one.
_HELD_OUT = 16
#: The largest change of a scale in a step, about, as a share of it.
_RATE = 1e-3
_BETAS = (0.9, 0.95)
#: Steps until changes are as large.
_WARM_UP = 5
#: Steps after which the state is kept.
_KEPT_AFTER = 8


@dataclass(frozen=True)
class _Target:
    """A sample, and what the last block of the plain model gives for it."""

    sample: Sample
    output: Any

    @property
    def num_tokens(self) -> int:
        tokens: int = self.sample["input_ids"].shape[1]
        return tokens


def can_tune(samples: Sequence[Sample]) -> bool:
    """Whether one can be held out."""
    return len(samples) > 1


def tune_scales(
    blocks: FinishedBlocks, samples: Sequence[Sample], folder: WorkFolder
) -> TuningResult:
    """The scales by which the model's predictions are nearest to the plain one's, found with Adam
    in a step for each sample; those that there are, where samples that are held out say so.

    In memory are one block's weights in float32, the plain model's hidden states of all samples,
    those of one sample before each block, and for each scale four numbers in float32. Goes on
    where an earlier run was. Raises ConfigError if predictions are not finite.
    """
    targets = [
        _Target(*each) for each in zip(samples, plain_outputs(blocks.source, samples), strict=True)
    ]
    spared = range(len(targets))[_HELD_OUT // 2 :: _HELD_OUT] or [len(targets) - 1]
    held = [targets[i] for i in spared]
    tuned = _Scales(blocks, folder)
    before = tuned.divergence(held)
    _take_steps(tuned, [each for i, each in enumerate(targets) if i not in spared], folder)
    after = tuned.divergence(held)
    return TuningResult(tuned.tensors() if after < before else {}, before, after)


def _take_steps(tuned: _Scales, targets: list[_Target], folder: WorkFolder) -> None:
    random.Random(0).shuffle(targets)
    optimiser = torch.optim.Adam(tuned.parameters(), betas=_BETAS)
    done = 0
    if kept := folder.get_tuning():
        done = kept["done"]
        tuned.load(kept["factors"])
        optimiser.load_state_dict(kept["optimiser"])
    # A bar where standard error is a terminal.
    bar = tqdm(total=len(targets), initial=done, unit="step", leave=False, disable=None)
    with bar:
        for step in range(done, len(targets)):
            tuned.set_gradients(targets[step])
            for group in optimiser.param_groups:
                rest = 1 - step / len(targets)
                group["lr"] = _RATE * min(1.0, (step + 1) / _WARM_UP) * rest
            optimiser.step()
            if (step + 1) % _KEPT_AFTER == 0:
                state = {"done": step + 1, "factors": tuned.factors}
                folder.put_tuning({**state, "optimiser": optimiser.state_dict()})
            bar.update()


class _Scales:
    """Of all layers, as what is stored times e to the power of a factor."""

    def __init__(self, blocks: FinishedBlocks, folder: WorkFolder) -> None:
        self._blocks, self._folder = blocks, folder
        self.factors = [self._no_change(index) for index in range(len(blocks.source.blocks))]

    def _no_change(self, index: int) -> dict[str, nn.Parameter]:
        """A factor for each scale of a block, by the layers' names."""
        tensors, _ = self._folder.get(index)
        return {
            name: nn.Parameter(torch.zeros(tensors[self._blocks.scales_name(index, name)].shape))
            for name, grid in self._blocks.grids[index].items()
            if grid is not None
        }

    def parameters(self) -> list[nn.Parameter]:
        """All factors."""
        return [factor for block in self.factors for factor in block.values()]

    def load(self, factors: Sequence[Mapping[str, Tensor]]) -> None:
        """Take over factors that were kept."""
        for own, kept in zip(self.factors, factors, strict=True):
            for name, factor in own.items():
                factor.data = kept[name].data

    def tensors(self) -> dict[str, Tensor]:
        """The scales, by the names that they are stored by."""
        return {
            name: scales
            for index in range(len(self.factors))
            for name, scales in self._scales(index, self._folder.get(index)[0]).items()
        }

    def divergence(self, targets: Sequence[_Target]) -> float:
        """The KL divergence of predictions from the plain model's, in nats a token."""
        total = sum(self._forward(target)[1] for target in targets)
        return total / sum(target.num_tokens for target in targets)

    def set_gradients(self, target: _Target) -> None:
        """Of factors, by that divergence on one sample."""
        source = self._blocks.source
        stages, divergence, gradients = self._forward(target)
        gradients = [gradient / target.num_tokens for gradient in gradients]
        if not math.isfinite(divergence):
            raise ConfigError("the quantised model's predictions are no finite numbers")
        for index in reversed(range(len(stages))):
            stage, factors = stages.pop(), self.factors[index]
            layers = source.linears(index)
            weights = [layers[name].weight for name in factors]
            with self._placed(index), _few_bits():
                own, at_weights = block_gradients(
                    source.blocks[index], weights, stage.calls[0], gradients[0]
                )
                for (name, factor), gradient in zip(factors.items(), at_weights, strict=True):
                    by_weight = gradient * layers[name].weight
                    factor.grad = by_weight.view(*factor.shape, -1).sum(-1)
            gradients = between(stages[-1], stage, [own]) if stages else []

    def _forward(self, target: _Target) -> tuple[list[Stage], float, list[Tensor]]:
        """A pass of the model, its divergence, summed over tokens, and the gradient of that at the
        last block's hidden states."""
        source = self._blocks.source
        passes = ForwardPasses(source.model, source.blocks, [target.sample])
        stages: list[Stage] = []
        for index, block in enumerate(source.blocks):
            calls = passes.next_calls(stages[-1].outputs) if stages else passes.first_calls()
            with self._placed(index), _few_bits():
                stages.append(run_stage(block, calls))
        return stages, *divergences(source, [target.sample], [target.output], passes, stages[-1])

    @contextmanager
    def _placed(self, index: int) -> Iterator[None]:
        """A block in float32, with its scales as they are now."""
        tensors, _ = self._folder.get(index)
        with in_float32(self._blocks.source.blocks[index]):
            self._blocks.put_in_place(index, {**tensors, **self._scales(index, tensors)})
            yield

    def _scales(self, index: int, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of a block's layers, by the names that they are stored by and rounded as they are."""
        found = {}
        for layer, factor in self.factors[index].items():
            name = self._blocks.scales_name(index, layer)
            stored = tensors[name]
            found[name] = (stored.float() * factor.data.exp()).to(stored.dtype)
        return found


def _few_bits() -> AbstractContextManager[None]:
    """Products in bfloat16, which is twice as fast where the processor has it."""
    return torch.autocast("cpu", torch.bfloat16, enabled=has_bf16())
