"""Every architecture answers as transformers does on the same tiny checkpoint, in float32."""

from __future__ import annotations

from pathlib import Path

import pytest
from parity import check_parity, check_processor
from PIL import Image
from text_checkpoints import TEXT_MODELS, save_text_model
from vision_checkpoints import VISION_MODELS


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_text_model(name: str, tmp_path: Path, pictures: list[Image.Image]) -> None:
    check_parity(save_text_model(tmp_path, name), pictures, chunk=23)


@pytest.mark.parametrize("name", VISION_MODELS)
def test_vision_model(name: str, tmp_path: Path, pictures: list[Image.Image]) -> None:
    save, chunk = VISION_MODELS[name]
    folder = save(tmp_path)
    check_processor(folder)
    check_parity(folder, pictures, chunk)
