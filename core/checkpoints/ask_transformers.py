"""Asks transformers of a config or a tokenizer without importing it, nor torch.

A process of its own answers, and the answer is kept on disk for the next start. Where transformers
and torch are imported already, it is asked directly: a plugin may have taught it something.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..contracts.specs import JsonDict, load_object
from ..protocol.config import ConfigError
from ..system.cache_folder import cache_folder, forget_oldest, write_atomically

logger = logging.getLogger(__name__)

_MODULE = f"{__package__}.transformers_answers"
_CODE = Path(__file__).with_name("transformers_answers.py")
_MOST_KEPT = 64
_PATIENCE_S = 300.0
_QUIET = {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


def ask(question: str, argument: JsonDict, stamp: str = "") -> Any:
    """The answer of a function of `transformers_answers.py`. stamp: of what else it depends on.

    Raises ConfigError for an answer that is an error.
    """
    answer = _ask(question, argument, stamp)
    if "error" in answer:
        raise ConfigError(answer["error"])
    return answer


def stamp_files(folder: Path) -> str:
    """What changes with any file of a folder but for the weights: names, sizes and times."""
    described = []
    for path in sorted(folder.iterdir()):
        if path.suffix != ".safetensors" and path.is_file():
            status = path.stat()
            described.append(f"{path.name}:{status.st_size}:{status.st_mtime_ns}")
    return "\n".join(described)


def _ask(question: str, argument: JsonDict, stamp: str) -> JsonDict:
    if "transformers" in sys.modules and sys.modules.get("torch") is not None:
        direct: JsonDict = load_object(f"{_MODULE}:ANSWERS")[question](argument)
        return direct
    asked = json.dumps({"question": question, "argument": argument}, sort_keys=True)
    kept = cache_folder("transformers") / f"{_digest(asked, stamp)}.json"
    try:
        answer: JsonDict = json.loads(kept.read_text(encoding="utf-8"))
        os.utime(kept)  # forgotten last
        return answer
    except (OSError, ValueError):
        pass  # not there, or damaged: asked anew
    answer = _ask_process(asked)
    try:
        write_atomically(kept, json.dumps(answer))
        forget_oldest(kept.parent, _MOST_KEPT)
    except OSError as error:
        logger.debug("not kept for the next start: %s", error)
    return answer


def _digest(asked: str, stamp: str) -> str:
    versions = f"{version('transformers')} {version('tokenizers')}"
    digest = hashlib.sha256("\0".join((asked, stamp, versions)).encode())
    digest.update(_CODE.read_bytes())
    return digest.hexdigest()


def _ask_process(asked: str) -> JsonDict:
    # -P: a folder that happens to be the working one must not be a source of modules.
    command = [sys.executable, "-P", "-m", _MODULE]
    try:
        done = subprocess.run(
            command,
            input=asked,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE_S,
            env={**os.environ, **_QUIET},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"transformers can't be asked of the checkpoint: {error}") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise ConfigError(f"transformers can't be asked of the checkpoint: {last}")
    answer: JsonDict = json.loads(done.stdout)
    return answer
