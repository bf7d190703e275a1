"""Tiny vision-language models with random weights: for each, how to write it into a folder, and
the fewest tokens a step that it can be served with."""

from collections.abc import Callable
from pathlib import Path

from . import gemma, llava, qwen

VISION_MODELS: dict[str, tuple[Callable[[Path], Path], int]] = {
    **llava.MODELS,
    **gemma.MODELS,
    **qwen.MODELS,
}
