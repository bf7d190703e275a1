"""What came of tuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class TuningResult:
    """scales: in place of the layers', by the names that they are stored by; none where those
    layers have are better. before, after: the KL divergence of predictions from the plain model's
    on samples that were held out, in nats a token, with scales as they were and as they were found.
    """

    scales: Mapping[str, Tensor]
    before: float
    after: float
