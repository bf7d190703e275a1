"""What the engine asks of whoever holds the model."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from torch import Tensor

from ..protocol.messages import MediaInput, StoreWrites
from ..protocol.model_facts import ModelFacts
from ..protocol.sampling_params import SamplingParams
from ..protocol.scheduler_output import SchedulerOutput, StepResult


class Executor(Protocol):
    """Holds the model, the KV cache and the features of images, and keeps by id what it needs of
    each request. It decides nothing: every step is told whole by a SchedulerOutput."""

    @property
    def facts(self) -> ModelFacts:
        """What was loaded."""
        ...

    def check(self, params: SamplingParams) -> None:
        """Raises ValueError for settings that can't be honoured, such as arguments that a logits
        processor refuses. Nothing is kept."""
        ...

    def prepare(self, params: SamplingParams) -> Future[Any] | None:
        """Begin what takes too long for a step, such as compiling a grammar: until it is done, a
        request with these settings may not run. It fails with ValueError for settings that can't
        be honoured. Kept for as long as the future is. None if there is nothing to prepare."""
        ...

    def execute(self, output: SchedulerOutput) -> StepResult:
        """One step. If it raises, requests are forgotten and known as the output says, and
        nothing else of it is done: EncodeError if images can't be encoded, or anything."""
        ...

    def encode_images(self, media: Sequence[MediaInput]) -> list[Tensor]:
        """The features of images, [num_features, hidden_size] each; none is kept. Raises
        ValueError if the model takes no images."""
        ...

    def store_writes(self) -> StoreWrites:
        """What was written to the encoder store so far."""
        ...

    def close(self, timeout: float) -> None:
        """Finish what is under way beside the steps, within so many seconds."""
        ...
