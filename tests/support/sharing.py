"""How two processes share the tests: file by file, the longest first, a shared server's as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

import pytest
from xdist.scheduler import LoadFileScheduling

#: The files that ask the server of the fixture `demo_server`: one process starts it for all.
DEMO_SERVER_FILES = frozenset(
    {
        "test_api_document.py",
        "test_api_fields.py",
        "test_api_strictness.py",
        "test_asking_a_server.py",
        "test_bench_serve.py",
        "test_chat_in_terminal.py",
        "test_chat_with_server.py",
        "test_completion_fields.py",
        "test_completions.py",
        "test_deploy_monitoring.py",
        "test_deploy_services.py",
        "test_honoured_fields.py",
        "test_hostile_bodies.py",
        "test_http.py",
        "test_http_hostile.py",
        "test_http_sampling.py",
        "test_http_workers.py",
        "test_light_processes.py",
        "test_messages.py",
        "test_messages_fields.py",
        "test_ollama.py",
        "test_ollama_fields.py",
        "test_printed_blocks.py",
        "test_responses.py",
        "test_responses_fields.py",
        "test_structured_outputs.py",
        "test_timings.py",
        "test_tool_calls.py",
        "test_tokenizing.py",
        "test_tools.py",
    }
)
#: The files that take longest; begun last, one of them would keep one process waiting.
_LONGEST = (
    "test_deploy.py",
    "test_shared_cache.py",
    "test_http_hostile.py",
    "test_supervision.py",
    "test_conformance.py",
    "test_hung_processes.py",
    "test_gguf.py",
    "test_architectures.py",
    "test_plugin_example.py",
    "test_embeddings_api.py",
    "test_bench_offline.py",
    "test_bench_compare.py",
    "test_sanitized.py",
    "test_http_images.py",
    "test_media_pool.py",
    "test_triton_kernels.py",
)


def longest_first(items: list[pytest.Item]) -> None:
    """Sort tests so; what a process begins first is what comes first."""
    place = {name: index for index, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


def check_users(items: Sequence[pytest.Item]) -> None:
    """Raises UsageError for a file that asks the shared server, but is not said to."""
    for item in items:
        name = item.path.name
        if "demo_server" in getattr(item, "fixturenames", ()) and name not in DEMO_SERVER_FILES:
            raise pytest.UsageError(f"add {name} to DEMO_SERVER_FILES in tests/support/sharing.py")


class SharedServerScheduling(LoadFileScheduling):  # type: ignore[misc]
    """As `--dist=loadfile`, but for the files that share a server, or a page and a browser."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        if PurePath(file).parent.parts[-2:] == ("app", "page"):
            return "page"
        return "demo server" if PurePath(file).name in DEMO_SERVER_FILES else file
