"""The dashboard and the alerts in examples/deploy name what a server exposes."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import octavo
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from promql import Named, names_in
from serve_command import serve_options
from serving import chat

ROOT = Path(octavo.__file__).parent
DEPLOY = ROOT / "examples" / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "octavo.json").read_text())
CONFIG = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
GROUPS = [
    group
    for name in CONFIG["rule_files"]
    for group in yaml.safe_load((DEPLOY / "prometheus" / name).read_text())["groups"]
]
RULES = [rule for group in GROUPS for rule in group["rules"]]
#: Prometheus' own.
OWN_METRICS, OWN_LABELS = {"up"}, {"job", "instance", "le"}
#: Of encoder stores, which the server here has none of.
STORE_LABELS = {"operation"}
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}


def expressions() -> Iterator[str]:
    """Every one of the dashboard, its variables among them, and of the alerts."""
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield re.fullmatch(r"label_values\((.*), \w+\)", variable["definition"])[1]  # type: ignore[index]
    yield from (rule["expr"] for rule in RULES)


@pytest.fixture(scope="module")
def exposed(demo_server: str) -> Named:
    """What a server exposes that was asked about a picture."""
    data = base64.b64encode((ROOT / "examples" / "images" / "dog.png").read_bytes()).decode()
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    assert chat(demo_server, messages=[{"role": "user", "content": [image]}]).status_code == 200
    found = Named()
    metrics = httpx.get(f"{demo_server}/metrics").text
    for family in text_string_to_metric_families(metrics):
        found.metrics |= {family.name + end for end in SUFFIXES.get(family.type, ("",))}
        found.labels |= {label for sample in family.samples for label in sample.labels}
    return found


def test_expressions_name_what_is_exposed(exposed: Named) -> None:
    for expression in expressions():
        named = names_in(expression)
        assert named.metrics, expression
        assert named.metrics <= exposed.metrics | OWN_METRICS, expression
        assert named.labels <= exposed.labels | OWN_LABELS | STORE_LABELS, expression


def test_names_are_found_in_expressions() -> None:
    named = names_in(
        'sum by (a) (rate(x_total{b="c{d", e!~"f"}[5m])) / on (g) h:i unless ignoring(j) up > 2e3'
    )
    assert named == Named({"x_total", "h:i", "up"}, {"a", "b", "e", "g", "j"})


def test_the_dashboard_can_be_imported() -> None:
    assert DASHBOARD["schemaVersion"] >= 41
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    variables = [variable["name"] for variable in DASHBOARD["templating"]["list"]]
    assert variables == ["datasource", "job", "instance"]
    shown = [panel for panel in panels if panel["type"] != "row"]
    assert len(shown) > 20
    for panel in shown:
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert {source["uid"] for source in sources} == {"${datasource}"}, panel["title"]
        own = r"\$(?!(?:job|instance|__rate_interval|__range)\b)"
        assert not [target for target in panel["targets"] if re.search(own, target["expr"])]


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


def test_alerts_have_what_prometheus_requires() -> None:
    assert len({group["name"] for group in GROUPS}) == len(GROUPS)
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert re.fullmatch(r"[A-Za-z_]\w*", rule["alert"])
        assert re.fullmatch(r"(\d+(ms|[smhdwy]))+", rule["for"])
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description"}


def test_alerts_are_of_the_job_that_is_scraped() -> None:
    jobs = {job["job_name"] for job in CONFIG["scrape_configs"]}
    chosen = {job for rule in RULES for job in re.findall(r'job="([^"]*)"', rule["expr"])}
    assert chosen == jobs
    assert all('job="' in rule["expr"] for rule in RULES)


def test_options_that_alerts_speak_of_are_the_servers() -> None:
    texts = " ".join(text for rule in RULES for text in rule["annotations"].values())
    named = set(re.findall(r"--[a-z-]+", texts))
    assert named
    assert named <= serve_options()
