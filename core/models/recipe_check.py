"""Holds a recipe of quantisation against a model's layers, which are those of its torch modules,
made without storage: in a short-lived process where torch isn't imported.

The process's input is the JSON of an EngineConfig; it prints what is wrong, if something is.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import asdict

from ..contracts.specs import load_object
from ..protocol.config import ConfigError, EngineConfig
from ..registry.registry import UnsupportedModelError

logger = logging.getLogger(__name__)

_CHECK = "octavo.core.models.loader:check_layers"
_PATIENCE_S = 300.0
_REFUSED = 2


def check_recipe(config: EngineConfig) -> None:
    """Raises ConfigError for rules that don't fit the model, or UnsupportedModelError. config: with
    a recipe."""
    if sys.modules.get("torch") is not None:
        load_object(_CHECK)(config)
        return
    command = [sys.executable, "-P", "-m", __name__]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(asdict(config)),
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        logger.warning("the rules of quantization are checked as the model is loaded: %s", error)
        return
    if done.returncode == _REFUSED:
        raise ConfigError(done.stdout.strip())


def main() -> int:
    """Returns the exit status."""
    config = EngineConfig(**json.load(sys.stdin))
    try:
        load_object(_CHECK)(config)
    except (ConfigError, UnsupportedModelError) as error:
        print(error)
        return _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
