"""A model's files in the Hugging Face format, and what their configs say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ..contracts.specs import JsonDict, StoredTensor, load_object
from ..protocol.config import ConfigError
from .ask_transformers import ask, stamp_files
from .hf_config import complete_config, is_known_type
from .json_file import read_json_file
from .unreadable import unreadable
from .weight_files import WeightFiles, find_weights, read_header

_PROCESSOR, _IMAGE_PROCESSOR = "processor_config.json", "preprocessor_config.json"
#: Bytes of tensors for which a file is opened anew, which takes as long as copying a megabyte.
_MAPPED_TOGETHER = 16 << 20
#: Bytes of tensors that may keep a mapping. Smaller ones, such as weights of norms, are copied:
#: they stay while large ones beside them are packed elsewhere and let go.
_COPIED = 256 << 10


@dataclass(frozen=True)
class Checkpoint:
    """A folder in Hugging Face format. name: as the operator gave it."""

    name: str
    path: Path

    @cached_property
    def config(self) -> JsonDict:
        """`config.json`, with what it leaves to transformers' defaults."""
        return complete_config(read_json_file(self.path / "config.json"))

    @cached_property
    def generation_config(self) -> JsonDict:
        """`generation_config.json`; empty if there is none."""
        return _read_optional(self.path / "generation_config.json")

    @cached_property
    def image_processor_config(self) -> JsonDict:
        """The image part of `processor_config.json`, or `preprocessor_config.json`; empty if a
        model that only a plugin knows has neither. Raises ConfigError if another has neither:
        pictures made by defaults would be those of another model."""
        nested = self._processor_config.get("image_processor")
        if nested is not None:
            if not isinstance(nested, Mapping):
                raise ConfigError(
                    f"{self.name}: image_processor in {self.path / _PROCESSOR} is no object"
                )
            return nested
        alone = self.path / _IMAGE_PROCESSOR
        if not alone.is_file() and not is_known_type(self.config):
            return {}
        if not alone.is_file():
            raise ConfigError(
                f"{self.name}: the model takes images, but there is no {_IMAGE_PROCESSOR} in "
                f"{self.path} (and no image_processor in a {_PROCESSOR}) to say how they are "
                "prepared; copy that file from the model's repository"
            )
        return read_json_file(alone)

    @cached_property
    def processor_chat_template(self) -> str | None:
        """The chat template that the files of the processor hold, which goes before that of the
        tokenizer in models that take images; those in `chat_template.jinja` are both's."""
        template = self._processor_config.get("chat_template")
        legacy = self.path / "chat_template.json"
        if template is None and not (self.path / "chat_template.jinja").is_file():
            template = _read_optional(legacy).get("chat_template")
        if template is not None and not isinstance(template, str):
            raise ConfigError(f"{self.name}: the chat_template of the processor is no text")
        return template

    @cached_property
    def response_template(self) -> JsonDict | None:
        """How the model writes thoughts and calls, as transformers defines response templates, if
        `tokenizer_config.json` or the processor says."""
        for settings in (
            _read_optional(self.path / "tokenizer_config.json"),
            self._processor_config,
        ):
            template = settings.get("response_template")
            if template is not None:
                if not isinstance(template, Mapping):
                    raise ConfigError(f"{self.name}: the response_template is no object")
                return template
        return None

    @cached_property
    def _processor_config(self) -> JsonDict:
        return _read_optional(self.path / _PROCESSOR)

    @property
    def quantization_config(self) -> JsonDict:
        """Settings of the method that it is quantised with; empty if it is not."""
        settings: JsonDict = self.config.get("quantization_config") or {}
        return settings

    @property
    def kept_packed(self) -> Checkpoint:
        """The same, but with `weights` in the bits that they are stored in."""
        return self

    @property
    def dtype(self) -> str | None:
        """The number format that the config names, if any."""
        return named_dtype(self.config)

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """Tokens that end a generation: those of the generation config, or of the model's."""
        text_config = self.config.get("text_config") or {}
        for config in (self.generation_config, self.config, text_config):
            ids = config.get("eos_token_id")
            if ids is not None:
                return (ids,) if isinstance(ids, int) else tuple(ids)
        return ()

    @property
    def tokenizer_parts(self) -> JsonDict:
        """See `tokenizer` in transformers_answers.py. Raises ConfigError if there is no usable
        tokenizer."""
        try:
            parts: JsonDict = ask("tokenizer", {"folder": str(self.path)}, stamp_files(self.path))
        except ConfigError as error:
            raise ConfigError(f"{self.name}: {error}") from error
        return parts

    def transformers_tokenizer(self) -> Any:
        """transformers' own object of the same files. That imports it, in seconds."""
        # By name, as only few need it, and torch comes with it.
        load = load_object("octavo.core.checkpoints.transformers_answers:load_tokenizer")
        return load({"folder": str(self.path)})

    def transformers_model(self, auto_class: Any, **options: Any) -> Any:
        """What its `from_pretrained` returns for the checkpoint, and raises."""
        return auto_class.from_pretrained(self.path, **options)

    @property
    def transformers_source(self) -> tuple[Path, dict[str, str]]:
        """The folder that transformers loads from, and what it must be told besides."""
        return self.path, {}

    @property
    def transformers_config(self) -> dict[str, Any]:
        """Arguments on the config for transformers' model classes, if the files don't hold it in a
        form that they read."""
        return {}

    def weights(self) -> Iterator[tuple[str, Any]]:
        """Each tensor, of torch, with its name, one at a time. Raises ConfigError if there are
        none, or a file of them is missing."""
        files = self._weight_files()
        for path in files.present():
            names = (name for name in _names_in(path) if files.holds(path, name))
            while part := list(_map_some(path, names)):
                yield from part

    def weight_names(self) -> Iterator[str]:
        """The names alone. Raises ConfigError as `weights` does."""
        files = self._weight_files()
        for path in files.present():
            yield from (name for name in _names_in(path) if files.holds(path, name))

    def stored_tensors(self) -> dict[str, StoredTensor]:
        """Those of `weights` by name, as the files have them, whose headers alone are read. Raises
        ConfigError as `weights` does, and for a file that is truncated."""
        files = self._weight_files()
        try:
            return {
                name: tensor
                for path in files.present()
                for name, tensor in read_header(path).items()
                if files.holds(path, name)
            }
        except ConfigError as error:
            raise ConfigError(f"{self.name}: {error}") from error

    def weight_paths(self) -> list[Path]:
        """The files that hold the weights, without links, as a hub's cache has them. Raises
        ConfigError as `weights` does."""
        return [path.resolve() for path in self._weight_files().present()]

    def _weight_files(self) -> WeightFiles:
        try:
            return find_weights(self.path)
        except ConfigError as error:
            raise ConfigError(f"{self.name}: {error}") from error


def named_dtype(config: JsonDict) -> str | None:
    """The number format that a config names, if any."""
    for part in (config, config.get("text_config") or {}):
        dtype = part.get("dtype") or part.get("torch_dtype")
        if dtype:
            return str(dtype)
    return None


def _names_in(path: Path) -> list[str]:
    try:
        with safe_open(path, framework="numpy") as file:
            return list(file.keys())
    except (SafetensorError, OSError) as error:
        raise unreadable(path, error) from error


def _map_some(path: Path, names: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """The next tensors of a file, in a mapping of their own. What was read of a mapping stays
    resident until all of its tensors are let go, and some of a checkpoint's are never."""
    with safe_open(path, framework="pt") as file:
        size = 0
        while size < _MAPPED_TOGETHER and (name := next(names, None)) is not None:
            tensor = file.get_tensor(name)
            size += tensor.nbytes
            if tensor.nbytes < _COPIED:
                tensor = tensor.clone()
            yield name, tensor


def _read_optional(path: Path) -> JsonDict:
    return read_json_file(path) if path.is_file() else {}
