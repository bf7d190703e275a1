"""Prometheus metrics of a server's HTTP requests."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from .key_metrics import KeyMetrics

#: Clients may send any word; each would be a series of its own.
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


class HttpMetrics:
    """Kept in the registry of a server's metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.keys = KeyMetrics(registry)
        self._requests = Counter(
            "octavo:http_requests",
            "HTTP requests whose answers have begun, by path as the API has it (none for others).",
            ["method", "handler", "status"],
            registry=registry,
        )

    def count(self, method: str, handler: str, status: int) -> None:
        """A request has its status. handler: a path of the API, or none."""
        known = method if method in _METHODS else "other"
        self._requests.labels(known, handler, str(status)).inc()
