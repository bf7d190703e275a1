"""Plugins are found, conflicts name both sides, and a broken one does not stop the rest."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from shutil import copytree

import pytest
import torch
from octavo import LLM
from octavo.core.registry.registry import (
    UnsupportedModelError,
    find_entry_points,
    get_registry,
    load_registry,
)
from safetensors.torch import load_file, save_file

SPEC = """
from octavo.core.contracts.specs import ModelSpec
from octavo.core.registry.hookspecs import hookimpl

@hookimpl
def octavo_register_models(register):
    spec = ModelSpec({name!r}, ({architecture!r},), load="x:Y", contract_version={version})
    register(spec)
"""


def plugin(folder: Path, name: str, source: str) -> EntryPoint:
    (folder / f"{name}.py").write_text(source)
    return EntryPoint(name=name, value=name, group="octavo")


def test_listing_needs_no_torch() -> None:
    code = (
        "import sys; from octavo.__main__ import main; main(['plugins', 'list']);"
        "print('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    *listing, torch_loaded = result.stdout.splitlines()
    assert torch_loaded == "False"
    text = "\n".join(listing)
    assert "model llama: LlamaForCausalLM" in text
    assert "model llava: LlavaForConditionalGeneration" in text
    assert "encoder clip: clip_vision_model" in text
    assert "encoder siglip: siglip_vision_model" in text


def test_conflicts_and_broken_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    good = SPEC.format(name="new", architecture="NewForCausalLM", version=2)
    entries = [
        *find_entry_points(),
        plugin(tmp_path, "octavo_good", good),
        plugin(
            tmp_path,
            "octavo_twin",
            SPEC.format(name="other", architecture="LlamaForCausalLM", version=2),
        ),
        plugin(tmp_path, "octavo_broken", "import a_module_that_is_not_there"),
        plugin(
            tmp_path,
            "octavo_old",
            SPEC.format(name="old", architecture="Old", version=0),
        ),
        plugin(
            tmp_path,
            "octavo_unsaid",
            SPEC.format(name="unsaid", architecture="Unsaid", version=None),
        ),
        plugin(
            tmp_path,
            "octavo_wrong",
            SPEC.format(name="wrong", architecture="Wrong", version=2).replace(
                "octavo_register_models(register)", "octavo_register_models(registre)"
            ),
        ),
    ]
    registry = load_registry(entries)
    errors = {info.name: info.error for info in registry.plugins if info.error}
    assert set(errors) == {
        "octavo_twin",
        "octavo_broken",
        "octavo_old",
        "octavo_unsaid",
        "octavo_wrong",
    }
    assert "'models.llama'" in str(errors["octavo_twin"])
    assert "'octavo_twin'" in str(errors["octavo_twin"])
    assert "a_module_that_is_not_there" in str(errors["octavo_broken"])
    assert "contract version 0" in str(errors["octavo_old"])
    assert "add contract_version=2 to its ModelSpec" in str(errors["octavo_unsaid"])
    assert "registre" in str(errors["octavo_wrong"])
    assert registry.model_for_config({"architectures": ["NewForCausalLM"]}).name == "new"


def test_unknown_architecture_names_the_installed_ones(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["Nobody"]}))
    with pytest.raises(UnsupportedModelError, match=r"Nobody.*LlamaForCausalLM"):
        get_registry().model_for_config({"architectures": ["Nobody"]})
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    command = [sys.executable, "-m", "octavo", "serve", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert re.search(r"Nobody.*LlamaForCausalLM", result.stderr)


def test_missing_weight_is_named(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    from octavo.core.protocol.config import ConfigError

    copytree(checkpoints["llama"], tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=r"model\.norm\.weight"):
        LLM(tmp_path)
