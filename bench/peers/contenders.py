"""Which engines run on which model, and how each is started."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_LOG = logging.getLogger(__name__)
_PACKAGE = Path(__file__).parent
_MAX_MODEL_LEN = 2304
_MAX_NUM_SEQS = 32
#: What a slot of llama.cpp holds; it sets them all aside at the start.
_SLOT_TOKENS = 1024
_GGUF = {"bf16": "bf16", "int8": "q8_0", "int4": "q4_1"}
_TCMALLOC = Path("/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4")

#: Folders of checkpoints by the kind of work.
MODELS = {
    "text": ("smollm2-135m",),
    "vision": ("smolvlm-256m", "llava-1.5"),
    "large": ("llama-1b",),
}
PRECISIONS = ("bf16", "int8", "int4")


@dataclass(frozen=True)
class Pythons:
    """Interpreters in whose environments the engines are, and llama.cpp's server; None leaves one
    out. models: the folder that `prepare` wrote; peer_dtype: what vLLM and transformers compute
    bfloat16 checkpoints in, where torch multiplies fastest."""

    models: Path
    vllm: str | None = None
    openvino: str | None = None
    transformers: str | None = None
    llama_server: str | None = None
    peer_dtype: str = "bfloat16"

    @property
    def has_peers(self) -> bool:
        """Whether there is any engine but Octavo."""
        return any((self.vllm, self.openvino, self.transformers, self.llama_server))


@dataclass(frozen=True)
class Contender:
    """An engine on a model. precision: what its weights are, in words."""

    name: str
    precision: str
    module: str
    python: str
    options: dict[str, Any]
    env: dict[str, str] = field(default_factory=dict)

    @property
    def command(self) -> list[str]:
        """What to start."""
        return [self.python, "-m", self.module, json.dumps(self.options)]


def contenders(given: Pythons, model: str, precision: str, prompt: str) -> Iterator[Contender]:
    """Octavo first. prompt: that of an image with the question, as the chat template writes it;
    empty for a language model. What has no checkpoint in the precision is left out, saying so."""
    vision = bool(prompt)
    checkpoint = str(given.models / model)
    options: dict[str, Any] = {
        "model": checkpoint,
        "dtype": "auto",
        "quantization": None if precision == "bf16" else precision,
        "max_model_len": _MAX_MODEL_LEN,
        "max_num_seqs": _MAX_NUM_SEQS,
        "threads": len(os.sched_getaffinity(0)),
        "vision": vision,
        "prompt": prompt,
    }
    ours = f"{__package__}.engines.octavo_engine"
    yield Contender("Octavo", precision, ours, sys.executable, options)
    if precision == "bf16":
        plain = {**options, "dtype": given.peer_dtype}
        if given.vllm:
            yield _peer("vLLM", given.peer_dtype, "vllm", given.vllm, plain, _vllm_env(given.vllm))
        if given.transformers:
            peer = given.transformers
            yield _peer("transformers", given.peer_dtype, "transformers", peer, plain)
    if given.openvino:
        ir = given.models / "openvino" / f"{model}-{precision}"
        label = "fp16 IR" if precision == "bf16" else f"{precision} IR"
        if _exists(ir, "OpenVINO"):
            converted = {**options, "model": str(ir)}
            yield _peer("OpenVINO", label, "openvino", given.openvino, converted)
    if given.llama_server and not vision:
        gguf = given.models / "gguf" / f"{model}-{_GGUF[precision]}.gguf"
        if _exists(gguf, "llama.cpp"):
            served = {"llama_server": given.llama_server, "slot_tokens": _SLOT_TOKENS}
            converted = {**options, **served, "model": str(gguf)}
            yield _peer("llama.cpp", _GGUF[precision], "llama_cpp", sys.executable, converted)


def _peer(
    name: str,
    precision: str,
    module: str,
    python: str,
    options: dict[str, Any],
    env: dict[str, str] | None = None,
) -> Contender:
    """Peers' Pythons have no Octavo, so its folder is on their path."""
    path = {"PYTHONPATH": str(_PACKAGE), "HF_HUB_OFFLINE": "1"}
    return Contender(
        name, precision, f"engines.{module}_engine", python, options, {**path, **(env or {})}
    )


def _vllm_env(python: str) -> dict[str, str]:
    """What its documentation advises for a CPU."""
    openmp = Path(python).parents[1] / "lib" / "libiomp5.so"
    wanted = (_TCMALLOC, openmp)
    for library in wanted:
        if not library.exists():
            _LOG.warning("vLLM runs without %s, which is not installed", library.name)
    return {
        "LD_PRELOAD": ":".join(str(library) for library in wanted if library.exists()),
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, sorted(os.sched_getaffinity(0)))),
        "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
    }


def _exists(path: Path, engine: str) -> bool:
    if not path.exists():
        _LOG.warning("%s is left out: there is no %s", engine, path)
    return path.exists()
