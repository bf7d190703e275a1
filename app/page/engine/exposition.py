"""A server's metrics, read from Prometheus' text format."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

_PREFIX = "octavo:"
#: What every server of Octavo tells, and no other.
_BUILD = "octavo_build_info"


class Exposition:
    """Names are given without their prefix, as in "generation_tokens_total". text: of GET /metrics.

    Raises ValueError for a text of another format.
    """

    def __init__(self, text: str) -> None:
        self._series: dict[str, list[tuple[dict[str, str], float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found = self._series.setdefault(sample.name, [])
                found.append((sample.labels, sample.value))

    @property
    def is_octavos(self) -> bool:
        """Whether the server is one of Octavo's."""
        return _BUILD in self._series

    @property
    def process_start(self) -> float:
        """When the server was started, in seconds of the epoch; 0 where that is not told."""
        return sum(value for _, value in self._series.get("process_start_time_seconds", ()))

    def values(self) -> dict[str, float]:
        """All series that bear no labels."""
        return {
            name.removeprefix(_PREFIX): value
            for name, series in self._series.items()
            for labels, value in series
            if name.startswith(_PREFIX) and not labels
        }

    def by_label(self, name: str, label: str) -> dict[str, float]:
        """The series of a name, by the value of their label; {} if there are none."""
        series = self._series.get(_PREFIX + name, ())
        return {labels[label]: value for labels, value in series if label in labels}
