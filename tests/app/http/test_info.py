"""GET /info: what it tells is what the commands on this machine say, and no more."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import octavo
import pytest
from octavo.__main__ import main
from octavo.app import DEMO_MODEL
from octavo.app.serving.server_info import for_strangers, server_info
from octavo.core.protocol.runtime_facts import RuntimeFacts, UsedKernel
from octavo.core.registry.registry import PluginInfo, Registry
from prometheus_client.parser import text_string_to_metric_families
from serving import chat, running_server

RECIPE = "layers.0.*=none,*=int8"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    settings = ("--dtype=float32", "--kv-cache-memory=64MiB", "--max-num-seqs=7")
    with running_server(*settings, f"--quantization={RECIPE}", "--media-workers=1") as base:
        yield base


@pytest.fixture(scope="module")
def info(url: str) -> dict[str, Any]:
    response = httpx.get(f"{url}/info")
    assert response.headers["Content-Type"] == "application/json"
    told: dict[str, Any] = response.json()
    return told


def test_facts_are_those_of_the_settings(info: dict[str, Any], url: str) -> None:
    plain = {name: value for name, value in info.items() if name not in ("kernels", "plugins")}
    assert plain == {
        "version": octavo.__version__,
        "model": "octavo-demo",
        "device": "cpu",
        "dtype": "float32",
        "kv_cache_dtype": "float32",
        "quantization": RECIPE,
        "num_blocks": httpx.get(f"{url}/health").json()["num_free_blocks"],
        "block_size": 16,
        "max_num_seqs": 7,
        "max_model_len": httpx.get(f"{url}/v1/models").json()["data"][0]["max_model_len"],
    }


def test_kernels_are_those_that_the_command_lists(
    info: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["kernels", "--device", "cpu", "--dtype", "float32"]) == 0
    listed = [re.split(r"  +", line) for line in capsys.readouterr().out.splitlines()[1:]]
    told = [[kernel["op"], kernel["kernel"], kernel["why"]] for kernel in info["kernels"]]
    assert told == listed[: len(told)]
    assert len(told) > 5


def test_plugins_are_those_that_the_command_lists(
    info: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plugins", "list"]) == 0
    lines = []
    for plugin in info["plugins"]:
        lines.append(f"{plugin['name']} ({plugin['source']})")
        lines += [f"  {brought}" for brought in plugin["brings"]]
    assert "\n".join(lines) == capsys.readouterr().out.rstrip()


def test_metrics_tell_what_layers_are_stored_as(url: str) -> None:
    told = {
        (sample.labels["layers"], sample.labels["format"]): sample.labels
        for family in text_string_to_metric_families(httpx.get(f"{url}/metrics").text)
        for sample in family.samples
        if sample.name == "octavo_weights_info"
    }
    config = json.loads(Path(DEMO_MODEL, "config.json").read_text())["text_config"]
    layers, name = config["num_hidden_layers"], "language_model.model.layers.*.mlp.down_proj"
    plain, small = told[name, "float32"], told[name, "int8"]
    assert (plain["count"], small["count"]) == ("1", str(layers - 1))
    weights = config["hidden_size"] * config["intermediate_size"]
    assert int(plain["bytes"]) == 4 * weights
    # A float32 scale for each output.
    assert int(small["bytes"]) == (layers - 1) * (weights + 4 * config["hidden_size"])
    assert ("language_model.lm_head", "int8") in told


def test_blocks_are_counted_by_state(url: str, info: dict[str, Any]) -> None:
    chat(url, "one two three four " * 20, max_tokens=1)
    counts = {
        sample.labels["state"]: sample.value
        for family in text_string_to_metric_families(httpx.get(f"{url}/metrics").text)
        for sample in family.samples
        if sample.name == "octavo:kv_blocks"
    }
    assert sum(counts.values()) == info["num_blocks"]
    assert counts["used"] == 0
    # Whole blocks of the prompt, the answer's only token being in none.
    assert counts["cached"] == chat_tokens(url) // info["block_size"]


def chat_tokens(url: str) -> int:
    answer = chat(url, "one two three four " * 20, max_tokens=1)
    count: int = answer.json()["usage"]["prompt_tokens"]
    return count


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("can't open /home/me/.cache/x.so: no such file", "can't open x.so: no such file"),
        ("from 'a' ('/home/my name/a/__init__.py')", "from 'a' ('__init__.py')"),
        ("from 'a' (/srv/a/__init__.py)", "from 'a' (__init__.py)"),
        ("at ~/models/b and C:\\Users\\me\\c.dll", "at b and c.dll"),
        ("redis://me:secret@host:6379/0 is down", "redis://… is down"),
        ("preferred to numpy, reference", "preferred to numpy, reference"),
        ("bfloat16/float32 and 1/2", "bfloat16/float32 and 1/2"),
    ],
)
def test_strangers_learn_no_places(message: str, told: str) -> None:
    assert for_strangers(message) == told


def test_a_refused_plugin_is_told_with_why() -> None:
    registry = Registry(plugins=[PluginInfo("a", "a 1", "ImportError: no b (/home/me/a.py)")])
    runtime = RuntimeFacts(kernels=[UsedKernel("op", "cpu", "triton can't be used: /a/b/c.so")])
    told = server_info("m", runtime, registry, 1)
    assert told.plugins[0].error == "ImportError: no b (a.py)"
    assert told.kernels[0].why == "triton can't be used: c.so"
    assert (told.num_blocks, told.block_size, told.max_model_len) == (None, None, None)


def test_the_docs_show_its_fields(info: dict[str, Any]) -> None:
    docs = Path(octavo.__file__).parent / "docs" / "api.md"
    section = docs.read_text().split("## GET /info\n")[1].split("\n## ")[0]
    assert re.findall(r'^  "(\w+)":', section, re.MULTILINE) == list(info)
