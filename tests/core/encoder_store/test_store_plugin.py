"""A plugin's encoder store: registered by a hook, and shared by offline engines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from octavo import LLM, SamplingParams
from octavo.core.protocol.config import ConfigError
from octavo.core.registry.registry import Registry, find_entry_points, load_registry
from PIL import Image

PLUGIN = """
from pathlib import Path

from octavo.core.contracts.specs import EncoderStoreSpec
from octavo.core.registry.hookspecs import hookimpl


@hookimpl
def octavo_register_encoder_stores(register):
    store = f"{__name__}:FolderStore"
    register(EncoderStoreSpec("folder", ("folder",), store, contract_version=2))


class FolderStore:
    def __init__(self, url):
        self.folder = Path(url.removeprefix("folder://"))

    def get(self, key):
        path = self.folder / key
        return path.read_bytes() if path.exists() else None

    def set(self, key, value, ttl_seconds):
        (self.folder / key).write_bytes(value)

    def delete(self, key):
        (self.folder / key).unlink(missing_ok=True)

    def lease(self, key, owner, seconds):
        return True

    def release(self, key, owner):
        pass

    def close(self):
        pass
"""


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    (tmp_path / "octavo_folder_store.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("folder-store", "octavo_folder_store", "octavo")
    found = load_registry([*find_entry_points(), entry])
    monkeypatch.setattr("octavo.app.offline.loaded_model.get_registry", lambda: found)
    yield found
    sys.modules.pop("octavo_folder_store", None)


def caption(store: str, picture: Image.Image) -> tuple[str, int]:
    """What the demo model says, and how often its encoder ran for that."""
    parts = [{"type": "image", "image": picture}, {"type": "text", "text": "What is this?"}]
    params = SamplingParams(temperature=0, max_tokens=6)
    with LLM(dtype="float32", kv_cache_memory=32 * 2**20, encoder_cache=store) as llm:
        (output,) = llm.chat([{"role": "user", "content": parts}], params)
        return output.outputs[0].text, llm.stats().encoder_runs


def test_one_engine_finds_what_another_wrote(
    registry: Registry, tmp_path: Path, pictures: list[Image.Image]
) -> None:
    assert registry.owners["encoder_stores", "folder"] == "folder-store"
    folder = tmp_path / "store"
    folder.mkdir()
    store = f"folder://{folder}"
    text, runs = caption(store, pictures[0])
    assert runs == 1
    assert caption(store, pictures[0]) == (text, 0)
    (entry,) = folder.iterdir()
    entry.write_bytes(entry.read_bytes()[:-1] + b"?")
    assert caption(store, pictures[0]) == (text, 1)


def test_a_store_that_nobody_brings_is_refused(registry: Registry) -> None:
    with pytest.raises(ConfigError, match=r"redis://.*folder://"):
        LLM(encoder_cache="memcached://localhost")
