"""A cluster of Ray: its nodes, and actors on them that have loaded a model."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ....core.protocol.config import ConfigError
from .actor_model import ActorModel

logger = logging.getLogger(__name__)

#: Times that an actor may die while it loads its model.
_MAX_DEATHS = 3
#: After which it is looked why an actor isn't ready.
_SLOW_START_S = 60.0


@dataclass(eq=False)
class Seat:
    """A place for an actor. name, node_id: of its node. options: of Ray. actor: the handle of the
    one that is there."""

    name: str
    node_id: str
    options: Mapping[str, Any]
    actor: Any = None


class RayCluster:
    """address: see RayActors. Raises ConfigError if Ray isn't installed."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._ray = _import_ray()
        self._is_ours = False

    @property
    def errors(self) -> Any:
        """Ray's exceptions."""
        return self._ray.exceptions

    def connect(self) -> None:
        """Raises ConfigError."""
        if self._ray.is_initialized():
            return
        # Ray would tell its makers of each start.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options = {"include_dashboard": False} if self._address == "local" else {}
        handler = signal.getsignal(signal.SIGTERM)
        try:
            self._ray.init(
                address=self._address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **options,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(f"--ray {self._address}: {error}") from error
        finally:
            in_main_thread = threading.current_thread() is threading.main_thread()
            if in_main_thread and handler is not None:
                signal.signal(signal.SIGTERM, handler)  # Ray puts its own there
        self._is_ours = True
        _silence()

    def seats(self, actors_per_node: int, at_once: int) -> list[Seat]:
        """For so many actors on each node that has processors, which they share, each with so many
        calls at once. Raises ConfigError if there are none."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        seats = []
        for node in self._ray.nodes():
            resources = node["Resources"]
            options = {
                "num_cpus": int(resources.get("CPU", 0)) // actors_per_node,
                "num_gpus": min(1, int(resources.get("GPU", 0)) // actors_per_node),
                "max_concurrency": at_once,
                "scheduling_strategy": NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            }
            if node["Alive"] and options["num_cpus"]:
                name = node["NodeManagerAddress"]
                seats += [Seat(name, node["NodeID"], options) for _ in range(actors_per_node)]
        if not seats:
            raise ConfigError(
                f"--ray {self._address}: no node has processors for {actors_per_node} actors"
            )
        return seats

    async def hire(self, seat: Seat, settings: Mapping[str, Any]) -> None:
        """Put an actor there that has loaded the model of these settings. Raises ConfigError if it
        can't be loaded, or if there can be no actor, as the node is lost."""
        for deaths in itertools.count(1):
            actor = self._ray.remote(ActorModel).options(**seat.options).remote(settings)
            loading = asyncio.ensure_future(result_of(actor.load.remote()))
            while not (await asyncio.wait({loading}, timeout=_SLOW_START_S))[0]:
                if not await asyncio.to_thread(self._is_alive, seat):
                    loading.cancel()
                    raise ConfigError(f"on {seat.name}: the node is lost")
                logger.warning(
                    "the actor on %s is not ready yet: it loads the model, or waits for %d "
                    "processors",
                    seat.name,
                    seat.options["num_cpus"],
                )
            try:
                problem = loading.result()
            except self.errors.RayTaskError as error:
                raise error.cause or error from None
            except self.errors.ActorDiedError as error:
                if deaths < _MAX_DEATHS:
                    continue
                problem = f"the actor died {deaths} times while it loaded the model: {error}"
            except self.errors.RayError as error:
                problem = str(error)
            if problem is not None:
                raise ConfigError(f"on {seat.name}: {problem}")
            seat.actor = actor
            return

    def dismiss(self, seat: Seat) -> None:
        """End the actor that is there, if there is one."""
        if seat.actor is not None:
            self._ray.kill(seat.actor)
            seat.actor = None

    def close(self) -> None:
        """Leave the cluster, unless this process was in it before; a local one ends."""
        if self._is_ours:
            self._ray.shutdown()
            self._is_ours = False

    def _is_alive(self, seat: Seat) -> bool:
        return any(node["Alive"] and node["NodeID"] == seat.node_id for node in self._ray.nodes())


async def result_of(reference: Any) -> Any:
    """Of a call of an actor. Raises Ray's errors."""
    return await reference


def _silence() -> None:
    """Ray prints what happens to nodes and actors to standard output, where captions may go, and
    has no setting that keeps it from that; it is logged instead."""
    from ray._private import worker

    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = _log_lines


def _log_lines(data: Mapping[str, Any], *options: Any, **named: Any) -> None:
    logger.debug("Ray: %s", "; ".join(map(str, data["lines"])))


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--ray needs Ray: pip install 'octavo[ray]'") from error
    return ray
