"""What the plain model says, and how far from it the quantised one is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..backward_passes import Stage
from ..forward_passes import ForwardPasses, run_block
from ..samples import Sample
from ..source_model import SourceModel, in_float32


def plain_outputs(source: SourceModel, samples: Sequence[Sample]) -> list[Any]:
    """What the last block of the plain model gives for each. One block's weights at a time are in
    memory, in float32."""
    passes = ForwardPasses(source.model, source.blocks, samples)
    calls = passes.first_calls()
    outputs: list[Any] = []
    for block in source.blocks:
        calls = passes.next_calls(outputs) if outputs else calls
        with in_float32(block):
            outputs = [run_block(block, call) for call in calls]
    passes.close()
    return outputs


def plain_predictions(source: SourceModel, sample: Sample, output: Any) -> Tensor:
    """Log-probabilities, float32 [tokens, vocab]. output: see `plain_outputs`."""
    passes = ForwardPasses(source.model, source.blocks, [sample])
    passes.first_calls()
    # What blocks before the last are said to give goes nowhere.
    for _ in source.blocks[1:]:
        passes.next_calls([output])
    (result,) = passes.results([output])
    found: Tensor = result.logits[0].float().log_softmax(-1)
    return found


def divergences(
    source: SourceModel,
    samples: Sequence[Sample],
    outputs: Sequence[Any],
    passes: ForwardPasses,
    last: Stage,
) -> tuple[float, list[Tensor]]:
    """The KL divergence of predictions from the plain model's, in nats, summed over tokens, and its
    gradients at the last block's hidden states.

    outputs: see `plain_outputs`. passes: that have come to the end of the last block.
    """
    total, gradients = 0.0, []
    for sample, output, result, end in zip(
        samples, outputs, passes.results(last.outputs), last.ends, strict=True
    ):
        logits = result.logits[0].float()
        wanted = plain_predictions(source, sample, output)
        found = logits.detach().log_softmax(-1)
        likely = wanted.exp()
        total += float((likely * (wanted - found)).sum())
        # By logits, the difference of the probabilities.
        gradients.append(torch.autograd.grad(logits, end, found.exp_().sub_(likely))[0])
    return total, gradients
