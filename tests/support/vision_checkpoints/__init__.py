"""Tiny vision-language models with random weights: for each, how to write it into a folder, and
the fewest tokens a step that it can be served with."""

from collections.abc import Callable
from pathlib import Path

from . import gemma, llava, llava_anyres, qwen, tiles

VISION_MODELS: dict[str, tuple[Callable[[Path], Path], int]] = {
    **llava.MODELS,
    **llava_anyres.MODELS,
    **gemma.MODELS,
    **qwen.MODELS,
    **tiles.MODELS,
}
