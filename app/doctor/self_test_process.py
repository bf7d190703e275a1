"""What the doctor's self-test computes, in a process of its own: see `self_test.py`.

It prints a JSON list of status and text for each remark.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from .. import DEMO_MODEL
from .finding import Remark, examine

if TYPE_CHECKING:
    import torch

_PICTURE = Path(__file__).with_name("dog.png")
_QUESTION, _EXPECTED = "What is this?", "dog"
_ROWS, _WIDTH, _OUT = 5, 256, 96
#: Relative to the largest value: kernels may sum in another order, and in parts of bfloat16.
_TOLERANCE = 1e-2


def self_test() -> Iterator[Remark]:
    """Import torch, compare kernels with their definitions, and ask about a picture. Raises
    whatever goes wrong."""
    started = time.monotonic()
    import torch

    from ...core.device.device import choose_device

    device = choose_device("auto")
    yield "ok", f"torch {torch.__version__} computes on {device}, {torch.get_num_threads()} threads"
    yield from _compare_kernels(device)
    yield from _ask()
    yield "ok", f"took {time.monotonic() - started:.1f} s"


def _compare_kernels(device: torch.device) -> Iterator[Remark]:
    import torch

    from ...core.models.loader import choose_kernels
    from ...core.registry.registry import get_registry
    from ...kernels.reference.norm import rms_norm
    from ...kernels.weights import LinearWeight

    table = choose_kernels(get_registry(), device, torch.float32)
    chosen = {choice.op: choice for choice in table.choices}
    generator = torch.Generator().manual_seed(0)
    x, weight = (
        torch.randn(rows, _WIDTH, generator=generator).to(device) for rows in (_ROWS, _OUT)
    )
    linear = table.linear(LinearWeight(weight), torch.float32)
    results = {"rms_norm": (table.rms_norm(x, weight[0], 1e-5), rms_norm(x, weight[0], 1e-5))}
    if linear is not None:
        results["linear"] = (linear(x), (x.double() @ weight.double().T).float())
    for op, (computed, defined) in results.items():
        choice = chosen[op]
        name = f"{op} of the kernels {choice.backend} {choice.variant}".rstrip()
        error = float((computed - defined).abs().max() / defined.abs().max())
        if not error <= _TOLERANCE:  # NaN too
            yield "FAIL", f"{name} is off by {error:.1g} of the largest value"
        else:
            yield "ok", f"{name} agrees with its definition to {error:.1g}"
        if choice.backend == "reference":
            yield "warn", f"{op} runs by torch's operators: {choice.why}"


def _ask() -> Iterator[Remark]:
    from ..offline.llm import LLM

    content = [{"type": "image", "image": _PICTURE}, {"type": "text", "text": _QUESTION}]
    with LLM(DEMO_MODEL, max_num_seqs=1, kv_cache_memory=2**24) as llm:
        params = llm.default_sampling_params(temperature=0, max_tokens=24)
        answer = llm.chat([{"role": "user", "content": content}], params)[0].outputs[0].text
    if _EXPECTED in answer.lower():
        yield "ok", f"the demo model says of a picture of a dog: {answer}"
    else:
        yield "FAIL", f"the demo model says of a picture of a dog: {answer!r}"


def main() -> None:
    """Print the remarks."""
    # What libraries print must not stand among them.
    report = os.dup(1)
    os.dup2(2, 1)
    for finding in examine({"self-test": self_test}, shows_traceback=True):
        os.write(report, msgspec.json.encode((finding.status, finding.text)) + b"\n")


if __name__ == "__main__":
    main()
