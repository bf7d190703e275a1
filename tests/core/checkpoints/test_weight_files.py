"""The files of weights that are read are those that transformers reads, whatever lies beside them;
the hub's client downloads no others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import pytest
import torch
from hub_server import served_as_hub
from octavo.core.checkpoints.checkpoint import Checkpoint
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from octavo.core.embedding.hugging_face_embedder import HuggingFaceEmbedder
from octavo.core.protocol.config import ConfigError
from safetensors.torch import load_file, save_file
from text_checkpoints import save_family
from tiny_clip import save_clip
from transformers import AutoModelForCausalLM

INDEX = "model.safetensors.index.json"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_family(tmp_path_factory.mktemp("whole"), "Llama", {"num_hidden_layers": 1})


@pytest.fixture
def sharded(whole: Path, tmp_path: Path) -> Path:
    """The same in two shards."""
    folder = copytree(whole, tmp_path / "sharded")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    index = {}
    for shard, part in ((FIRST, names[::2]), (SECOND, names[1::2])):
        save_file({name: weights[name] for name in part}, folder / shard, {"format": "pt"})
        index |= dict.fromkeys(part, shard)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return folder


def check_as_transformers(folder: Path) -> None:
    expected = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    read = dict(Checkpoint("small", folder).weights())
    assert read.keys() == set(Checkpoint("small", folder).weight_names()) == expected.keys()
    assert all(torch.equal(read[name], weight) for name, weight in expected.items())


def test_what_the_index_does_not_name_is_left(sharded: Path) -> None:
    """A copy of zeros, Mistral's names for the same weights, an adapter, a damaged file."""
    weights = load_file(sharded / FIRST)
    zeros = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for name in ("model.safetensors.bak.safetensors", "consolidated.safetensors"):
        save_file(zeros, sharded / name, {"format": "pt"})
    save_file({"lora_A.weight": torch.ones(2, 2)}, sharded / "adapter_model.safetensors")
    (sharded / "model-00001-of-00003.safetensors").write_bytes(b"no weights")
    check_as_transformers(sharded)


def test_one_file_comes_before_an_index(whole: Path, tmp_path: Path) -> None:
    folder = copytree(whole, tmp_path / "both")
    (folder / INDEX).write_text(json.dumps({"weight_map": {"lm_head.weight": SECOND}}))
    save_file({"lm_head.weight": torch.zeros(2, 2)}, folder / "consolidated.safetensors")
    check_as_transformers(folder)


def test_a_tensor_is_taken_from_the_shard_that_the_index_gives(sharded: Path) -> None:
    """Not from another, which has it left over."""
    weights, others = load_file(sharded / FIRST), load_file(sharded / SECOND)
    name = min(weights)
    save_file({**others, name: torch.zeros(1)}, sharded / SECOND, {"format": "pt"})
    read = list(Checkpoint("small", sharded).weights())
    assert len(read) == len(weights) + len(others)
    assert torch.equal(dict(read)[name], weights[name])


def test_a_missing_or_damaged_shard_is_named(sharded: Path) -> None:
    whole = (sharded / SECOND).read_bytes()
    (sharded / SECOND).unlink()
    for read in (Checkpoint.weights, Checkpoint.weight_names):
        with pytest.raises(ConfigError, match=rf"lacks 1 of the 2 .* names: {SECOND};"):
            list(read(Checkpoint("small", sharded)))
    (sharded / SECOND).write_bytes(whole[:100])
    with pytest.raises(ConfigError, match=rf"{SECOND} can't be read, it may be damaged"):
        list(Checkpoint("small", sharded).weights())


@pytest.mark.parametrize("shards", [{}, [], {"a": 1}, {"a": "../other.safetensors"}, None])
def test_an_index_that_names_no_files(shards: object, sharded: Path) -> None:
    (sharded / INDEX).write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(ConfigError, match="weight_map must give the name of a file"):
        list(Checkpoint("small", sharded).weights())


def test_other_forms_are_named(whole: Path, tmp_path: Path) -> None:
    folder = copytree(whole, tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"")
    message = r"no model\.safetensors .*consolidated\.safetensors, pytorch_model\.bin can't be read"
    with pytest.raises(ConfigError, match=message):
        list(Checkpoint("small", folder).weights())


@pytest.fixture
def hub(
    sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, list[str]]]:
    """The repository's folder, and the names of the files that were downloaded."""
    with served_as_hub(sharded, tmp_path / "cache", monkeypatch) as taken:
        yield sharded, taken


def test_the_hub_gives_the_files_that_are_read(hub: tuple[Path, list[str]]) -> None:
    folder, taken = hub
    for name in ("consolidated.safetensors", "model.bak.safetensors", "pytorch_model.bin"):
        (folder / name).write_bytes(b"not to be read")
    read = dict(find_checkpoint("some/model").weights())
    assert {name for name in taken if "model" in name or "consolidated" in name} == {
        FIRST,
        SECOND,
        INDEX,
    }
    expected = load_file(folder / FIRST) | load_file(folder / SECOND)
    assert read.keys() == expected.keys()


def test_an_embedder_without_some_of_its_weights_is_refused(
    tmp_path: Path,
) -> None:
    folder = save_clip(tmp_path)
    weights = load_file(folder / "model.safetensors")
    name = "text_projection.weight"
    del weights[name]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=rf"1 weights are missing, such as {name}"):
        HuggingFaceEmbedder(find_checkpoint(str(folder)), torch.device("cpu"), torch.float32)
