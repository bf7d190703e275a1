"""Prometheus metrics by API key: names of the file alone, so that there are not too many."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class KeyMetrics:
    """Kept in the registry of a server's metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "octavo:key_requests",
            "HTTP requests by the name of their API key (none for those without a valid one) and "
            "by status.",
            ["key", "status"],
            registry=registry,
        )
        self._tokens = Counter(
            "octavo:key_tokens",
            "Tokens of prompts and of answers (generation), by the name of the API key.",
            ["key", "kind"],
            registry=registry,
        )

    def count(self, key: str, status: int) -> None:
        """A request has its status. key: a name, or none."""
        self._requests.labels(key, str(status)).inc()

    def count_tokens(self, key: str, num_prompt_tokens: int, num_generated: int) -> None:
        """A request has ended."""
        self._tokens.labels(key, "prompt").inc(num_prompt_tokens)
        self._tokens.labels(key, "generation").inc(num_generated)
