"""The kinds of projectors that are served."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ....contracts.specs import JsonDict
from ..gguf_metadata import GgufMetadata
from . import gemma3, idefics3, qwen2_vl
from .mmproj_file import MmprojFile
from .projector import Projector

_WIDTH = "vision.projection_dim"


class Kind(NamedTuple):
    """architecture: of the language models that it is for, by llama.cpp's name. read: is given the
    file, and the language model's file and config, and raises ConfigError for what can't be
    followed of the former."""

    architecture: str
    read: Callable[[MmprojFile, GgufMetadata, JsonDict], Projector]


#: By llama.cpp's names.
KINDS: Mapping[str, Kind] = {
    "idefics3": Kind("llama", idefics3.read),
    "qwen2vl_merger": Kind("qwen2vl", qwen2_vl.read_2),
    "qwen2.5vl_merger": Kind("qwen2vl", qwen2_vl.read_2_5),
    "gemma3": Kind("gemma3", gemma3.read),
}


def read_projector(file: MmprojFile, text: GgufMetadata, text_config: JsonDict) -> Projector:
    """What a file is, beside a language model's. Raises ConfigError for a kind that is not served
    or not for this language model, and for a key or a tensor that isn't used, is missing or is of
    another shape, by its name."""
    if file.kind not in KINDS:
        raise file.error(
            f"projectors of the kind {file.kind!r} are not served; known are {', '.join(KINDS)}"
        )
    kind = KINDS[file.kind]
    if text.architecture != kind.architecture:
        raise file.error(
            f"a projector of the kind {file.kind!r} is for language models of the architecture "
            f"{kind.architecture!r}, and this one is of {text.architecture!r}"
        )
    projector = kind.read(file, text, text_config)
    wanted = text_config["hidden_size"]
    if projector.width != wanted:
        raise file.error(
            f"{projector.output} gives vectors of {projector.width}, and the language model takes "
            f"{wanted} ({text.architecture}.embedding_length): they are not of the same model"
        )
    stated = file.size(_WIDTH, wanted)
    if stated != wanted:
        raise file.error(f"clip.{_WIDTH} = {stated}, but {projector.output} gives {wanted}")
    file.check_used({name: w.shape for w in projector.weights for name in w.sources})
    return projector
