"""What is told while weights are loaded: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator

from torch import Tensor
from tqdm import tqdm

from ..checkpoints.checkpoint import Checkpoint

logger = logging.getLogger(__name__)

#: Models that load faster are not worth a bar.
_DELAY_S = 1.0
_PAUSE_S = 10.0
_MIB = 2**20


def weights_with_progress(checkpoint: Checkpoint) -> Iterator[tuple[str, Tensor]]:
    """A checkpoint's weights, each with its name."""
    total = sum(path.stat().st_size for path in checkpoint.weight_paths())
    begin = told = time.monotonic()
    done = 0
    with tqdm(
        total=total,
        desc="weights",
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        delay=_DELAY_S,
        leave=False,
        disable=not sys.stderr.isatty(),
    ) as bar:
        for name, tensor in checkpoint.weights():
            yield name, tensor
            done += tensor.nbytes
            bar.update(tensor.nbytes)
            if bar.disable and time.monotonic() > told + _PAUSE_S:
                told = time.monotonic()
                logger.info("weights: %.0f of %.0f MiB", done / _MIB, total / _MIB)
    seconds = time.monotonic() - begin
    logger.info("weights: %.1f MiB in %.1f s", done / _MIB, seconds)
