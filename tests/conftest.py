"""Small checkpoints with random weights, made from transformers configs, and pictures."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from octavo import LLM
from octavo.app import DEMO_MODEL
from openai import OpenAI
from PIL import Image
from serving import running_server
from sharing import SharedServerScheduling, check_users, longest_first
from text_checkpoints import save_text_model
from vision_checkpoints.llava import save_llava
from xdist.scheduler import Scheduling

# Random examples are the same in each run, unless `scripts/soak` gives a seed.
settings.register_profile("fixed", deadline=None, derandomize=True)
settings.register_profile("fresh", deadline=None)
settings.load_profile("fresh" if "OCTAVO_TEST_SEED" in os.environ else "fixed")
# Ctrl-C is ignored by what a shell runs in the background, and then by all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """Which process gets which test."""
    return SharedServerScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In the order in which they run."""
    check_users(items)
    longest_first(items)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {
        "llama": save_text_model(root / "llama", "llama"),
        "llava-clip": save_llava(root / "llava-clip", "clip"),
        "llava-siglip": save_llava(root / "llava-siglip", "siglip"),
        "demo": Path(DEMO_MODEL),
    }


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    """Pictures of different sizes and contents."""
    generator = np.random.default_rng(0)
    sizes = [(40, 60), (100, 48), (64, 64)]
    return [
        Image.fromarray(generator.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes
    ]


@pytest.fixture(scope="session")
def concepts() -> dict[str, list[str]]:
    table: dict[str, list[str]] = json.loads(Path(DEMO_MODEL, "concepts.json").read_text())
    return table


@pytest.fixture(scope="session")
def demo_server() -> Iterator[str]:
    """The address of a server of the demo model, for tests that leave it as they found it."""
    with running_server(
        "--dtype=float32",
        "--kv-cache-memory=64MiB",
        "--max-body-mib=4",
        "--allowed-origins=https://example.com",
        threads=2,
    ) as base:
        yield base


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[OpenAI]:
    """The openai SDK, talking to the module's server."""
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as openai:
        yield openai


@pytest.fixture(scope="session")
def offline() -> LLM:
    """The demo model in this process, to hold a server's answers against."""
    return LLM(dtype="float32", kv_cache_memory=64 * 2**20)
