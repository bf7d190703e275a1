"""Automatic deployment answers as transformers does, whatever the architecture."""

from __future__ import annotations

from pathlib import Path

import pytest
from parity import check_parity
from PIL import Image
from text_checkpoints import TEXT_MODELS, save_text_model


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_text_model(name: str, tmp_path: Path, pictures: list[Image.Image]) -> None:
    folder = save_text_model(tmp_path, name)
    check_parity(folder, pictures, chunk=23, model_impl="transformers")
