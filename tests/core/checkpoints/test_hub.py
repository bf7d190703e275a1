"""GGUF files of a repository on the hub: one is downloaded, with its projector, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shutil import copyfile

import huggingface_hub
import pytest
from gguf_files import write_gguf
from hub_server import served_as_hub
from mmproj_files import FOLDERS, write_mmproj
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from octavo.core.embedding.model_kind import gives_embeddings, surely_gives_embeddings
from octavo.core.protocol.config import ConfigError
from text_checkpoints import save_text_model

REPO = "some/model-GGUF"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    return write_gguf(folder / "one.gguf", save_text_model(folder, "llama"))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    return folder


@pytest.fixture
def taken(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    with served_as_hub(repository, tmp_path / "cache", monkeypatch) as names:
        yield names


def fill(repository: Path, file: Path, *names: str) -> None:
    for name in names:
        (repository / name).parent.mkdir(exist_ok=True)
        copyfile(file, repository / name)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("q4_k_m", "m-Q4_K_M.gguf"),
        ("Q8_0", "m.Q8_0.gguf"),
        ("m.Q8_0", "m.Q8_0.gguf"),
        ("m-Q4_K.gguf", "m-Q4_K.gguf"),
        ("Q4_K", "m-Q4_K.gguf"),
        ("Q4_K_XL", "deep/m-UD-Q4_K_XL.gguf"),
        ("deep/m-UD-Q4_K_XL.gguf", "deep/m-UD-Q4_K_XL.gguf"),
    ],
)
def test_one_of_several_files(
    asked: str, name: str, repository: Path, file: Path, taken: list[str]
) -> None:
    names = ("m-Q4_K_M.gguf", "m-Q4_K.gguf", "m.Q8_0.gguf", "deep/m-UD-Q4_K_XL.gguf")
    fill(repository, file, *names)
    (repository / "config.json").write_text('{"model_type": "llama"}')
    found = find_checkpoint(f"{REPO}:{asked}")
    assert found.config["model_type"] == "llama"
    assert found.path.as_posix().endswith(f"/{name}")
    assert taken == [name]
    assert not surely_gives_embeddings(f"{REPO}:{asked}")
    assert not gives_embeddings(f"{REPO}:{asked}")


def test_the_only_file(repository: Path, file: Path, taken: list[str]) -> None:
    fill(repository, file, "m-Q4_K_M.gguf")
    (repository / "README.md").write_text("a model")
    assert find_checkpoint(REPO).path.name == "m-Q4_K_M.gguf"
    assert not gives_embeddings(REPO)
    assert taken == ["m-Q4_K_M.gguf"]


def test_what_is_in_the_cache_is_served_without_the_hub(
    repository: Path, file: Path, taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(repository, file, "m-Q4_K_M.gguf", "m-Q8_0.gguf")
    path = find_checkpoint(f"{REPO}:Q8_0").path
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert find_checkpoint(f"{REPO}:Q8_0").path == path
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert find_checkpoint(f"{REPO}:Q8_0").path == path
    with pytest.raises(ConfigError, match=r"no such GGUF file; there are: m-Q8_0\.gguf$"):
        find_checkpoint(f"{REPO}:Q4_K_M")
    assert taken == ["m-Q8_0.gguf"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("", r"has several GGUF files, name one after a colon, as in some/model-GGUF:a-Q4_0\.gguf"),
        ("", r"a-Q4_0\.gguf, b-Q4_0\.gguf, c-00001-of-00002\.gguf, c-00002-of-00002\.gguf$"),
        (":Q4_0", r"several GGUF files of that name, .*a-Q4_0\.gguf, b-Q4_0\.gguf"),
        (":Q8_0", r"no such GGUF file; there are: a-Q4_0\.gguf, b-Q4_0\.gguf"),
        (":c", r"c-00001-of-00002\.gguf is one of several parts; join them"),
        (":mmproj", r"no such GGUF file"),
    ],
)
def test_what_is_refused(
    asked: str, message: str, repository: Path, file: Path, taken: list[str]
) -> None:
    parts = [f"c-0000{part}-of-00002.gguf" for part in (1, 2)]
    fill(repository, file, "a-Q4_0.gguf", "b-Q4_0.gguf", *parts, "mmproj-a.gguf")
    with pytest.raises(ConfigError, match=message):
        find_checkpoint(REPO + asked)
    assert not taken


def test_files_in_parts_beside_a_whole_one(repository: Path, file: Path, taken: list[str]) -> None:
    """They come first in the list, and are what could be meant, too."""
    fill(repository, file, "a-Q8_0-00001-of-00002.gguf", "a-Q8_0-00002-of-00002.gguf")
    fill(repository, file, "m-Q4_K_M.gguf")
    with pytest.raises(ConfigError, match=r"has several GGUF files, name one .*m-Q4_K_M\.gguf$"):
        find_checkpoint(REPO)
    assert find_checkpoint(f"{REPO}:Q4_K_M").path.name == "m-Q4_K_M.gguf"
    with pytest.raises(ConfigError, match=r"is one of several parts; join them"):
        find_checkpoint(f"{REPO}:Q8_0")


def test_a_repository_without_such_files(repository: Path, taken: list[str]) -> None:
    (repository / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"no such GGUF file; there are: none"):
        find_checkpoint(f"{REPO}:Q4_K_M")


def test_the_only_projector(repository: Path, tmp_path: Path, taken: list[str]) -> None:
    folder = FOLDERS["smolvlm"](tmp_path / "folder")
    write_gguf(repository / "m-Q8_0.gguf", folder)
    write_mmproj(repository / "mmproj-m-f16.gguf", folder)
    assert "vision_config" not in find_checkpoint(REPO, "none").config
    assert taken == ["m-Q8_0.gguf"]
    assert "vision_config" in find_checkpoint(REPO).config
    assert taken == ["m-Q8_0.gguf", "mmproj-m-f16.gguf"]


def test_one_of_several_projectors(repository: Path, tmp_path: Path, taken: list[str]) -> None:
    folder = FOLDERS["smolvlm"](tmp_path / "folder")
    write_gguf(repository / "m-Q8_0.gguf", folder)
    for kind in ("f16", "f32"):
        write_mmproj(repository / f"mmproj-m-{kind}.gguf", folder)
    with pytest.raises(ConfigError, match=r"name one by --mmproj, or none: mmproj-m-f16\.gguf, "):
        find_checkpoint(REPO)
    assert not gives_embeddings(REPO)
    assert "vision_config" in find_checkpoint(REPO, "mmproj-m-f32.gguf").config
    assert taken == ["m-Q8_0.gguf", "mmproj-m-f32.gguf"]
    with pytest.raises(ConfigError, match=r"no vision projector of .* has mmproj-m-f16\.gguf, mm"):
        find_checkpoint(REPO, "mmproj-x.gguf")
    here = write_mmproj(tmp_path / "mmproj-here.gguf", folder)
    assert here.resolve() in find_checkpoint(REPO, str(here)).weight_paths()
