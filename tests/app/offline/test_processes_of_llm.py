"""A model and processes: forked ones are told at once what to do, spawned ones take its config."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import llm_in_processes
import pytest
from octavo import EmbeddingModel
from tiny_clip import save_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def said(clip: Path) -> dict[str, Any]:
    """By a program of its own, which has no threads but those of its model."""
    command = [sys.executable, "-Wignore", llm_in_processes.__file__, str(clip)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    read: dict[str, Any] = json.loads(done.stdout)
    return read


def test_every_use_in_a_forked_process_is_refused_and_it_ends(said: dict[str, Any]) -> None:
    forked = said["forked"]
    assert forked.pop("status") == 0
    assert len(forked) == 9
    for call, error in {**forked, "in a pool": said["a pool"]}.items():
        assert error.startswith("RuntimeError: this process"), call
        assert 'Start processes with "spawn"' in error, call
    assert said["goes on after forks"]


def test_a_model_is_not_pickled_and_its_config_is(said: dict[str, Any]) -> None:
    assert said["pickled"].startswith("TypeError: the model of an LLM lives in this process")
    assert "LLM(**dataclasses.asdict(config))" in said["pickled"]
    assert said["spawned"]


def test_an_error_in_a_spawned_process_arrives_whole(said: dict[str, Any]) -> None:
    text, param, index = said["spawned fails"]
    assert "prompts[1]: prompt has 'promt'" in text
    assert "did you mean prompt?" in text
    assert (param, index) == ("prompts[1].promt", 1)


def test_an_embedding_model_is_closed_and_not_pickled(clip: Path) -> None:
    with EmbeddingModel(clip) as model:
        assert repr(model) == f"<EmbeddingModel {str(clip)!r}, 512 dimensions>"
        with pytest.raises(TypeError, match="pickle the arguments that it was made with"):
            pickle.dumps(model)
    assert repr(model) == f"<EmbeddingModel {str(clip)!r}, closed>"
    model.close()
    with pytest.raises(RuntimeError, match="this EmbeddingModel is closed"):
        model.embed_texts(["a dog"])
