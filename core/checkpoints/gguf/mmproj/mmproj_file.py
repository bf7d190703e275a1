"""A vision projector file (`mmproj-*.gguf`), each key and tensor of which is used, harmless or
refused (names: gguf-py/gguf/constants.py and tools/mtmd/clip-impl.h of ggml-org/llama.cpp)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ....protocol.config import ConfigError
from ..gguf_file import GgufTensor, read_gguf
from ..gguf_kinds import brief
from ..gguf_metadata import GgufMetadata
from ..gguf_values import shape_of

_ARCHITECTURE = "clip"
#: Of `general.type`; the second is that of older converters.
_TYPES = ("mmproj", "clip-vision")
_KIND = "projector_type"
#: What every file may say: that it has what is served, and has not what isn't.
_STATED = {
    "has_vision_encoder": True,
    "has_text_encoder": False,
    "has_audio_encoder": False,
    "has_gen_audio_encoder": False,
    "has_llava_projector": True,
    "has_qwen2vl_merger": True,
}
_BLOCK = re.compile(r"v\.blk\.(\d+)\.")


class MmprojFile:
    """Keys are named without the architecture, such as "vision.image_size". All methods raise
    ConfigError that names the file, and the key or the tensor at fault; so does making one of a
    file that is none, or can't be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        file = read_gguf(path)
        architecture = file.keys.get("general.architecture")
        if architecture != _ARCHITECTURE:
            raise ConfigError(
                f"{path} is no vision projector: its general.architecture is {architecture!r}, "
                f"not {_ARCHITECTURE!r}"
            )
        try:
            metadata = GgufMetadata(file, _TYPES)
        except ConfigError as error:
            raise self.error(str(error)) from error
        self.tensors: dict[str, GgufTensor] = file.tensors
        self.metadata = metadata
        self._keys = metadata.fields
        self._used = {_KIND, *_STATED}
        self._check_stated()

    @property
    def kind(self) -> str:
        """Of the projector, by llama.cpp's name."""
        return str(self._value(_KIND, lambda value: isinstance(value, str), "a name"))

    @cached_property
    def num_blocks(self) -> int:
        """Of the tower."""
        count = self.size("vision.block_count")
        found = {int(match[1]) for match in map(_BLOCK.match, self.tensors) if match}
        if len(found) != count or max(found) != count - 1:
            raise self.error(
                f"{_ARCHITECTURE}.vision.block_count = {count}, but its tensors are of "
                f"{len(found)} blocks"
            )
        return count

    def size(self, key: str, default: int | None = None) -> int:
        """A number above 0."""
        return int(self._value(key, _is_size, "a whole number above 0", default))

    def number(self, key: str) -> float:
        """Above 0."""
        return float(self._value(key, _is_positive, "a number above 0"))

    def colour(self, key: str, above_0: bool = False) -> list[float]:
        """Three numbers."""
        is_one = _is_positive if above_0 else _is_number

        def holds(value: Any) -> bool:
            return isinstance(value, list) and len(value) == 3 and all(map(is_one, value))

        described = "a list of three numbers" + " above 0" * above_0
        return [float(number) for number in self._value(key, holds, described)]

    def flag(self, key: str) -> bool:
        """False if there is no such key."""
        return bool(self._value(key, lambda value: type(value) is bool, "true or false", False))

    def pass_over(self, key: str) -> None:
        """It may say anything: the model doesn't depend on it."""
        self._used.add(key)

    def expect(self, key: str, wanted: Any, given: Any) -> None:
        """Raises ConfigError unless a key's value, `given`, is the only one that is served."""
        alike = math.isclose(given, wanted, rel_tol=1e-5) if _is_number(wanted) else given == wanted
        if not alike:
            raise self.error(
                f"{_ARCHITECTURE}.{key} = {brief(given)}, which is not served: a projector of "
                f"the kind {self.kind!r} is computed with {brief(wanted)}"
            )

    def matrix(self, name: str) -> tuple[int, int]:
        """Rows and columns of a tensor, as torch has them."""
        shape = self._shape(name)
        if len(shape) != 2:
            raise self.error(f"{name} has the shape {list(shape)}, and is to be a matrix")
        rows, columns = shape
        return rows, columns

    def check_used(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """All that it holds. shapes: of the tensors that the model takes, by their names, as the
        keys have it. Keys are taken by the methods above."""
        for name, wanted in shapes.items():
            shape = self._shape(name)
            if shape != wanted:
                raise self.error(
                    f"{name} has the shape {list(shape)}, where its keys ask for {list(wanted)}"
                )
        unused = sorted(self.tensors.keys() - shapes.keys())
        if unused:
            raise self.error(
                f"a projector of the kind {self.kind!r} has no use for {len(unused)} of its "
                f"tensors, such as {unused[0]}"
            )
        for key, value in self._keys.items():
            if key not in self._used:
                raise self.error(
                    f"{_ARCHITECTURE}.{key} = {brief(value)} is not supported: pictures would be "
                    "seen otherwise; serve the model's folder in Hugging Face format instead"
                )

    def error(self, text: str) -> ConfigError:
        """One that names the file."""
        return ConfigError(f"the projector file {self.path.name}: {text}")

    def _shape(self, name: str) -> tuple[int, ...]:
        if name not in self.tensors:
            raise self.error(f"it has no tensor {name}")
        return shape_of(self.tensors[name])

    def _check_stated(self) -> None:
        for key, wanted in _STATED.items():
            given = self._keys.get(key, wanted)
            if given is not wanted:
                raise self.error(f"{_ARCHITECTURE}.{key} = {brief(given)} is not supported")

    def _value(
        self, key: str, holds: Callable[[Any], bool], described: str, default: Any = None
    ) -> Any:
        self._used.add(key)
        value = self._keys.get(key, default)
        if value is None:
            raise self.error(f"it has no {_ARCHITECTURE}.{key}")
        if not holds(value):
            raise self.error(
                f"{_ARCHITECTURE}.{key} = {brief(value)} is not supported: it must be {described}"
            )
        return value


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**31


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0
