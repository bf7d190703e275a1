"""Which vision projector belongs to a GGUF file, where a folder has one, several or none."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from gguf_files import write_gguf
from mmproj_files import FOLDERS, write_mmproj
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from octavo.core.protocol.config import ConfigError

#: Runs a command line, and says so if that listens.
RUN = """
import socket, sys
from octavo.__main__ import main
socket.socket.listen = lambda *_: print("listens")
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in Hugging Face format."""
    return FOLDERS["smolvlm"](tmp_path_factory.mktemp("smolvlm"))


@pytest.fixture
def files(folder: Path, tmp_path: Path) -> Path:
    """A folder with the language model's file, and the projector's beside it."""
    write_gguf(tmp_path / "model-F32.gguf", folder)
    write_mmproj(tmp_path / "mmproj-model-F32.gguf", folder)
    return tmp_path


def takes_pictures(model: Path, mmproj: str | None = None) -> bool:
    return "vision_config" in find_checkpoint(str(model), mmproj).config


def test_the_only_one_beside_is_taken(files: Path) -> None:
    """Of a folder and of a file; also where other language models lie there."""
    model = files / "model-F32.gguf"
    assert takes_pictures(files)
    assert takes_pictures(model)
    assert not takes_pictures(files, "none")
    assert not takes_pictures(model, "none")
    (files / "model-copy.gguf").write_bytes(model.read_bytes())
    assert takes_pictures(model)
    message = r"several GGUF files, name one: model-F32\.gguf, model-copy\.gguf$"
    with pytest.raises(ConfigError, match=message):
        find_checkpoint(str(files))


def test_one_of_several_is_named(files: Path, folder: Path, tmp_path: Path) -> None:
    """By its path, or its name in the model's folder."""
    other = write_mmproj(files / "model.mmproj-other.gguf", folder, {"clip.use_gelu": None})
    several = r"several vision projectors.*none: mmproj-model-F32\.gguf, model\.mmproj-other\.gguf"
    for model in (files, files / "model-F32.gguf"):
        with pytest.raises(ConfigError, match=several):
            find_checkpoint(str(model))
        assert takes_pictures(model, "mmproj-model-F32.gguf")
        assert takes_pictures(model, str(files / "mmproj-model-F32.gguf"))
        with pytest.raises(ConfigError, match=r"mmproj-other\.gguf: .*use_gelu"):
            find_checkpoint(str(model), other.name)
        with pytest.raises(ConfigError, match=r"mmproj 'nowhere\.gguf' is no file"):
            find_checkpoint(str(model), "nowhere.gguf")


def test_where_there_is_nothing_for_it(files: Path, folder: Path) -> None:
    (files / "model-F32.gguf").unlink()
    with pytest.raises(ConfigError, match=r"no config\.json and no GGUF file of a model"):
        find_checkpoint(str(files))
    with pytest.raises(ConfigError, match=r"mmproj 'mmproj\.gguf' is for GGUF files"):
        find_checkpoint(str(folder), "mmproj.gguf")


def test_a_server_refuses_before_it_listens(files: Path) -> None:
    """In a line that names the file and the tensor."""
    mmproj = files / "mmproj-model-F32.gguf"
    mmproj.write_bytes(mmproj.read_bytes()[:-1])
    done = subprocess.run(
        [sys.executable, "-c", RUN, "serve", str(files), "--port=0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (said,) = [line for line in done.stderr.splitlines() if " INFO " not in line]
    assert re.search(r"mmproj-model-F32\.gguf.*the tensor [a-z]+\.", said)
