"""The unit, the image and the manifests in examples/deploy start a server as it can be started."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import httpx
import octavo
import pytest
import yaml
from serve_command import parsed

ROOT = Path(octavo.__file__).parent
DEPLOY = ROOT / "examples" / "deploy"
#: What a server has after the drain timeout to cut what is left and to end.
ENDING_S = 10


class UnitParser(RawConfigParser):
    """Of systemd, whose keys have capitals, and may come more than once."""

    def __init__(self) -> None:
        super().__init__(strict=False, interpolation=None, delimiters="=", comment_prefixes="#")
        self.optionxform = str  # type: ignore[assignment,method-assign]


@pytest.fixture
def unit() -> dict[str, str]:
    """What the section Service holds."""
    parser = UnitParser()
    parser.read(DEPLOY / "systemd" / "octavo.service")
    assert parser["Install"]["WantedBy"] == "multi-user.target"
    return dict(parser["Service"])


def environment_files() -> Iterator[dict[str, str]]:
    """As it is, and with one of the lines that are commented out."""
    lines = (DEPLOY / "systemd" / "octavo.env").read_text().splitlines()
    plain = dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))
    assert plain
    yield plain
    for line in lines:
        if re.match(r"#\w+=", line):
            name, value = line[1:].split("=", 1)
            yield plain | {name: value}


def test_the_unit_starts_a_server(unit: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for environment in environment_files():
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            command = unit["ExecStart"].replace("$SERVE_OPTIONS", environment["SERVE_OPTIONS"])
            options = parsed(command.split())
        assert options.model == environment["OCTAVO_MODEL"]
        assert options.port == 8000


def test_each_variable_of_the_units_settings_is_one() -> None:
    known = (ROOT / "docs" / "settings.md").read_text()
    names = {name for environment in environment_files() for name in environment}
    settings = {name for name in names if name.startswith("OCTAVO_")}
    assert len(settings) > 3
    for name in settings:
        assert f"| `{name.removeprefix('OCTAVO_').lower()}` |" in known


def test_the_unit_gives_a_server_time_to_drain(unit: dict[str, str]) -> None:
    drain = parsed(unit["ExecStart"].replace("$SERVE_OPTIONS", "").split()).drain_timeout
    assert int(unit["TimeoutStopSec"]) >= drain + ENDING_S
    # The engine must not get the signal, as it is to finish.
    assert (unit["KillMode"], unit["KillSignal"]) == ("mixed", "SIGTERM")
    assert unit["Restart"] == "on-failure"


def test_the_unit_can_write_caches_and_batches_only(unit: dict[str, str]) -> None:
    assert unit["DynamicUser"] == unit["NoNewPrivileges"] == "yes"
    assert unit["ProtectSystem"] == "strict"
    assert unit["CapabilityBoundingSet"] == ""
    folders = dict(word.split("=", 1) for word in unit["Environment"].split())
    caches, states = f"%C/{unit['CacheDirectory']}", f"%S/{unit['StateDirectory']}"
    assert folders == {"HOME": caches, "XDG_CACHE_HOME": caches, "XDG_DATA_HOME": states}


def instructions() -> list[tuple[str, str]]:
    """The Containerfile's, with their arguments on one line."""
    text = (DEPLOY / "container" / "Containerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.partition(" ") for line in text.splitlines() if line]
    return [(name, " ".join(rest.split())) for name, _, rest in lines]


@pytest.fixture
def image() -> dict[str, str]:
    """Instructions of the last stage; of those that come twice, the last."""
    every = instructions()
    last = max(index for index, (name, _) in enumerate(every) if name == "FROM")
    return dict(every[last:])


def entrypoint(image: dict[str, str]) -> list[str]:
    """Without what runs it."""
    words: list[str] = json.loads(image["ENTRYPOINT"])
    assert words[:2] == ["tini", "--"]
    return words[2:]


def test_the_image_runs_a_server(image: dict[str, str], demo_server: str) -> None:
    options = parsed(entrypoint(image))
    assert options.host == "0.0.0.0"
    assert image["EXPOSE"] == str(options.port)
    assert image["STOPSIGNAL"] == "SIGTERM"
    user, _, group = image["USER"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    check = json.loads(image["HEALTHCHECK"].partition("CMD ")[2])[-1]
    asked = re.search(rf"http://127\.0\.0\.1:{options.port}(/[\w/]*)", check)
    assert asked
    assert httpx.get(f"{demo_server}{asked[1]}").status_code == 200


def test_the_health_check_is_a_program_that_fails_and_passes(
    image: dict[str, str], demo_server: str
) -> None:
    program = json.loads(image["HEALTHCHECK"].partition("CMD ")[2])
    assert program[:2] == ["python", "-c"]
    code = program[2].replace("http://127.0.0.1:8000", demo_server)
    exec(code, {})
    with pytest.raises(OSError, match="404"):
        exec(code.replace("/health", "/none"), {})


def test_the_image_keeps_caches_and_batches_in_volumes(image: dict[str, str]) -> None:
    folders = dict(word.split("=", 1) for word in image["ENV"].split())
    volumes = json.loads(image["VOLUME"])
    assert [folders["XDG_CACHE_HOME"], folders["XDG_DATA_HOME"]] == volumes
    assert all(volume in image["RUN"] for volume in volumes)


def test_the_image_is_built_from_the_whole_package() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    parts = re.search(r"^_PARTS = \((.*)\)$", (ROOT / "setup.py").read_text(), re.MULTILINE)
    assert parts
    needed = {"pyproject.toml", "setup.py", "README.md", "LICENSE"}
    needed |= {*re.findall(r'"(\w+)"', parts[1]), "__init__.py", "__main__.py", "py.typed"}
    assert sent == needed
    assert all((ROOT / name).exists() for name in sent)


@pytest.fixture(scope="module")
def objects() -> dict[str, list[Any]]:
    """Of Kubernetes, by kind."""
    found: dict[str, list[Any]] = {}
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            found.setdefault(document["kind"], []).append(document)
    return found


@pytest.fixture
def pod(objects: dict[str, list[Any]]) -> Any:
    [deployment] = objects["Deployment"]
    return deployment["spec"]["template"]


def pod_options(pod: Any, image: dict[str, str]) -> argparse.Namespace:
    [container] = pod["spec"]["containers"]
    return parsed([*entrypoint(image), *container["args"]])


def test_pods_run_a_server_and_ask_its_routes(
    pod: Any, image: dict[str, str], demo_server: str
) -> None:
    options = pod_options(pod, image)
    [container] = pod["spec"]["containers"]
    [port] = container["ports"]
    assert port["containerPort"] == options.port
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(options.port)
    probes = {name: container[name]["httpGet"] for name in container if name.endswith("Probe")}
    assert probes.keys() == {"startupProbe", "livenessProbe", "readinessProbe"}
    assert probes["livenessProbe"]["path"] == "/health/live"
    for probe in probes.values():
        assert probe["port"] == port["name"]
        assert httpx.get(f"{demo_server}{probe['path']}").status_code == 200


def test_pods_have_time_to_drain(pod: Any, image: dict[str, str]) -> None:
    [container] = pod["spec"]["containers"]
    program, pause = container["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    needed = int(pause) + pod_options(pod, image).drain_timeout + ENDING_S
    assert pod["spec"]["terminationGracePeriodSeconds"] >= needed


def test_pods_are_the_images_user_and_write_in_its_volumes(
    pod: Any, image: dict[str, str], objects: dict[str, list[Any]]
) -> None:
    [container] = pod["spec"]["containers"]
    security = pod["spec"]["securityContext"]
    assert f"{security['runAsUser']}:{security['runAsGroup']}" == image["USER"]
    assert security["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert mounts.keys() == {*json.loads(image["VOLUME"]), "/tmp"}
    assert set(mounts.values()) == {volume["name"] for volume in pod["spec"]["volumes"]}
    claims = {claim["metadata"]["name"] for claim in objects["PersistentVolumeClaim"]}
    used = [v["persistentVolumeClaim"] for v in pod["spec"]["volumes"] if "emptyDir" not in v]
    assert claims == {claim["claimName"] for claim in used}


def test_the_service_and_the_budget_choose_the_pods(
    pod: Any, objects: dict[str, list[Any]]
) -> None:
    labels = pod["metadata"]["labels"]
    [service], [budget] = objects["Service"], objects["PodDisruptionBudget"]
    [deployment] = objects["Deployment"]
    assert service["spec"]["selector"] == labels
    assert budget["spec"]["selector"]["matchLabels"] == labels
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
