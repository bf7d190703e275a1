"""A checkpoint's tensors are those that safetensors loads, in however many mappings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from octavo.core.checkpoints import checkpoint
from octavo.core.checkpoints.checkpoint import Checkpoint
from safetensors.torch import load_file, save_file
from torch import Tensor


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files with tensors of all sizes, of some formats, one of no dimensions and one empty."""
    generator = torch.Generator().manual_seed(7)
    sizes = [(3, 5), (40, 30), (1,), (0, 4), (), (7, 2), (64,), (2, 2, 2), (100,), (33, 3)]
    dtypes = (torch.float32, torch.bfloat16, torch.float16)
    index = {}
    for name in ("model-1", "model-2"):
        tensors = {
            f"{name}.{i}": torch.randn(size, generator=generator).to(dtypes[i % 3])
            for i, size in enumerate(sizes)
        }
        tensors[f"{name}.steps"] = torch.arange(-20, 20, dtype=torch.int8)
        save_file(tensors, tmp_path / f"{name}.safetensors")
        index |= dict.fromkeys(tensors, f"{name}.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return tmp_path


def assert_same(actual: dict[str, Tensor], folder: Path) -> None:
    expected = {k: v for path in folder.glob("*.safetensors") for k, v in load_file(path).items()}
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        assert actual[name].dtype == tensor.dtype
        assert torch.equal(actual[name], tensor)


@pytest.mark.parametrize("together", [1, 64, 200, 1000, 1 << 20])
def test_weights(together: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mappings of one tensor, of some, of all; tensors that are larger than what is mapped
    together."""
    monkeypatch.setattr(checkpoint, "_MAPPED_TOGETHER", together)
    monkeypatch.setattr(checkpoint, "_COPIED", 0)
    pairs = list(Checkpoint("small", folder).weights())
    assert len(dict(pairs)) == len(pairs)
    assert_same(dict(pairs), folder)


def test_a_mapping_goes_with_its_tensors(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "_MAPPED_TOGETHER", 1)
    monkeypatch.setattr(checkpoint, "_COPIED", 0)
    weights = dict(Checkpoint("small", folder).weights())
    mapped = num_mappings(folder)
    removed = {"model-1.1": weights.pop("model-1.1").clone()}
    assert num_mappings(folder) == mapped - 1
    assert_same(weights | removed, folder)


def test_small_tensors_keep_no_mapping(folder: Path) -> None:
    weights = dict(Checkpoint("small", folder).weights())
    assert num_mappings(folder) == 0
    assert_same(weights, folder)


def num_mappings(folder: Path) -> int:
    """Of its files, in this process."""
    return Path("/proc/self/maps").read_text().count(str(folder))


def test_names(folder: Path) -> None:
    assert list(Checkpoint("small", folder).weight_names()) == [
        name for name, _ in Checkpoint("small", folder).weights()
    ]
