"""The backend that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....core.contracts.specs import load_object
from ....core.protocol.config import ConfigError, EngineConfig
from ... import DEMO_MODEL
from .backend import Backend

_BACKENDS = "octavo.app.captioning.backends"


def open_backend(config: EngineConfig, workers: Sequence[str], ray: str | None) -> Backend:
    """workers: addresses of servers, in place of a model of one's own. ray: the address of a
    cluster, or "local". Loads no model yet. Raises ConfigError or RequestError."""
    if workers and ray is not None:
        raise ConfigError("--workers and --ray are both given; take one")
    backend: Any
    if workers:
        model = None if config.model == DEMO_MODEL else config.model
        backend = load_object(f"{_BACKENDS}.http_workers:HttpWorkers")(workers, model)
    else:
        facts = load_object(f"{_BACKENDS}.model_facts:model_facts")(config)
        if ray is not None:
            backend = load_object(f"{_BACKENDS}.ray_actors:RayActors")(config, facts, address=ray)
        else:
            backend = load_object(f"{_BACKENDS}.local:LocalBackend")(config, facts)
    chosen: Backend = backend
    return chosen
