"""How much a model's answers change where one of its layers is rounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ....core.protocol.config import ConfigError
from ....core.quantization.rounding.grid import Grid, round_to_nearest
from ..backward_passes import Stage, between, block_gradients, run_stage
from ..forward_passes import ForwardPasses
from ..inputs import layers_by_input
from ..samples import Sample
from ..source_model import SourceModel, in_float32

#: For each layer of a block by its name, the grids that it is tried on.
Candidates = Mapping[str, Sequence[Grid]]
Losses = dict[str, dict[Grid, float]]


@dataclass(frozen=True)
class BlockLosses:
    """of: what is lost where one layer alone lies on a grid; layers that aren't run lose nothing.
    together: see `layers_by_input`."""

    of: Losses
    together: list[list[str]]


def expected_losses(
    source: SourceModel, samples: Sequence[Sample], candidates: Sequence[Candidates]
) -> list[BlockLosses]:
    """For each block, the KL divergence of the model's predictions, in nats a token, that is
    expected where one layer alone lies on a grid, rounded to the nearest.

    To second order that is ½ E[(Σ G ΔW)²]: ΔW is what rounding changes, and G the gradient of the
    log-probability of labels that are drawn from the model's own predictions (the Fisher
    information, as in Kim et al., "SqueezeLLM", 2023, https://arxiv.org/abs/2306.07629, who sum
    the squares of single weights; Martens, "New Insights and Perspectives on the Natural Gradient
    Method", 2014, https://arxiv.org/abs/1412.1193). Rows of ΔW, the weights of one output, are
    taken as independent of each other, which makes few samples enough: ½ Σ_rows (Σ G ΔW)². Their
    errors at different tokens are not: attention adds them up.

    There is one forward and one backward pass of each sample. In memory are the inputs of all
    blocks, and one block's weights in float32. Raises ConfigError if gradients are not finite.
    """
    passes = ForwardPasses(source.model, source.blocks, samples)
    stages: list[Stage] = []
    together = []
    for index, block in enumerate(source.blocks):
        calls = passes.next_calls(stages[-1].outputs) if stages else passes.first_calls()
        with in_float32(block):
            together.append(layers_by_input(block, source.linears(index), calls[0]))
            stages.append(run_stage(block, calls))
    gradients = _gradients_of_labels(passes, stages[-1])
    found: list[Losses] = []
    for index in reversed(range(len(stages))):
        stage, block = stages.pop(), source.blocks[index]
        with in_float32(block):
            rounding = _rounding(source.linears(index), candidates[index], source.dtype)
            losses, gradients = _of_block(block, rounding, stage, gradients)
        found.insert(0, losses)
        if stages:
            gradients = between(stages[-1], stage, gradients)
    if not all(gradient.isfinite().all() for gradient in gradients):
        raise ConfigError("the model's gradients are no finite numbers on these samples")
    num_tokens = sum(sample["input_ids"].shape[1] for sample in samples)
    return [
        BlockLosses(
            {
                name: {grid: loss / num_tokens for grid, loss in each.items()}
                for name, each in losses.items()
            },
            names,
        )
        for losses, names in zip(found, together, strict=True)
    ]


def _gradients_of_labels(passes: ForwardPasses, last: Stage) -> list[Tensor]:
    """Of the log-probabilities of labels, at the last block's hidden states."""
    generator = torch.Generator().manual_seed(0)
    gradients = []
    for result, end in zip(passes.results(last.outputs), last.ends, strict=True):
        logits = result.logits[0].float()
        labels = logits.detach().softmax(-1).multinomial(1, generator=generator)[:, 0]
        loss = cross_entropy(logits, labels, reduction="sum")
        gradients.append(torch.autograd.grad(loss, end)[0])
    return gradients


@dataclass(frozen=True)
class _Rounding:
    """layer: in a block. changes: of its weight on each of its grids, [out, in]."""

    layer: nn.Linear
    changes: dict[Grid, Tensor]


def _rounding(
    linears: Mapping[str, nn.Linear], candidates: Candidates, dtype: torch.dtype
) -> dict[str, _Rounding]:
    return {
        name: _Rounding(
            linears[name],
            {
                grid: round_to_nearest(linears[name].weight, grid, dtype).values()
                - linears[name].weight
                for grid in grids
            },
        )
        for name, grids in candidates.items()
    }


def _of_block(
    block: nn.Module,
    rounding: Mapping[str, _Rounding],
    stage: Stage,
    gradients: Sequence[Tensor],
) -> tuple[Losses, list[Tensor]]:
    """The losses, summed over tokens, and gradients at the block's inputs."""
    losses = {name: dict.fromkeys(each.changes, 0.0) for name, each in rounding.items()}
    weights = [each.layer.weight for each in rounding.values()]
    before = []
    for call, gradient in zip(stage.calls, gradients, strict=True):
        own, at_weights = block_gradients(block, weights, call, gradient)
        before.append(own)
        for name, at_weight in zip(rounding, at_weights, strict=True):
            for grid, change in rounding[name].changes.items():
                losses[name][grid] += 0.5 * float((at_weight * change).sum(-1).square().sum())
    return losses, before
