"""Prometheus metrics of processes, and of what is installed; a registry that begins with them."""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Info, disable_created_metrics
from prometheus_client.process_collector import ProcessCollector

from ... import __version__


def server_registry() -> CollectorRegistry:
    """A registry for the metrics of a server, with those of this process, as all programs name
    them (process_resident_memory_bytes and so on), and octavo_build_info."""
    # A series beside each counter and histogram, which says when that began: the start of the
    # process, which is there already.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    # torch is not imported for it: the front does without.
    Info("octavo_build", "What runs here.", registry=registry).info(
        {
            "version": __version__,
            "torch_version": version("torch"),
            "python_version": platform.python_version(),
        }
    )
    return registry


def add_engine_process(registry: CollectorRegistry, pid: Callable[[], int | None]) -> None:
    """The same of the process that runs the model: octavo_engine_process_resident_memory_bytes
    and so on, while there is one. pid: its present id."""
    ProcessCollector("octavo_engine", lambda: pid() or "none", registry=registry)
