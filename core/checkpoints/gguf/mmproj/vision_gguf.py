"""A model of pictures and texts in two GGUF files: the language model's, and the projector's."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from ....contracts.interfaces import LANGUAGE_MODEL
from ....contracts.specs import JsonDict, StoredTensor
from ....protocol.config import NO_MMPROJ, ConfigError
from ...checkpoint import Checkpoint
from ...hf_config import complete_config
from ..gguf_checkpoint import GgufCheckpoint
from ..gguf_values import as_stored, dequantized
from .kinds import read_projector
from .mmproj_file import MmprojFile
from .projector import Projector

logger = logging.getLogger(__name__)

#: What both files of a model call it, in the converter's words.
_BASENAME = "general.basename"
#: What all of a language model's names begin with, but for its head's.
_MODEL = "model."


def pair_files(name: str, path: Path, mmproj: Path) -> VisionGguf:
    """name, path: see Checkpoint; of the language model's file. mmproj: the projector's. Raises
    ConfigError if they can't be read, can't be followed, or don't belong together."""
    text = GgufCheckpoint(name, path)
    try:
        file = MmprojFile(mmproj)
        projector = read_projector(file, text.metadata, text.config)
    except ConfigError as error:
        raise ConfigError(
            f"{path}: {error}; --mmproj {NO_MMPROJ} serves the language model alone"
        ) from error
    return VisionGguf(name, path, text, text, file, projector)


@dataclass(frozen=True)
class VisionGguf(Checkpoint):
    """path, text: of the language model. stored: the same, as its weights are wanted. mmproj,
    projector: the other file, and what it is."""

    text: GgufCheckpoint
    stored: Checkpoint
    mmproj: MmprojFile
    projector: Projector

    @cached_property
    def config(self) -> JsonDict:
        """Config in the form of `config.json`."""
        text = {**self.text.config, **self.projector.text_config}
        tied = text["tie_word_embeddings"]
        whole = {**self.projector.config, "text_config": text, "tie_word_embeddings": tied}
        return complete_config(whole)

    @property
    def image_processor_config(self) -> JsonDict:
        """See Checkpoint."""
        return self.projector.image_processor

    @property
    def processor_chat_template(self) -> str | None:
        """None: the tokenizer's file has the only one."""
        return None

    @cached_property
    def tokenizer_parts(self) -> JsonDict:
        """See Checkpoint. Logs signs of files that are not of the same model, or not for
        pictures."""
        parts = self.text.tokenizer_parts
        template, placeholder = parts["chat_template"], self.projector.placeholder
        if template and placeholder not in template:
            logger.warning(
                "%s: the chat template in %s doesn't write %s, which stands for a picture: chats "
                "with pictures may not work; take a file with the template of the model's own "
                "repository",
                self.name,
                self.path.name,
                placeholder,
            )
        ours, theirs = (m.others.get(_BASENAME) for m in (self.text.metadata, self.mmproj.metadata))
        if ours and theirs and ours != theirs:
            logger.warning(
                "%s: %s in %s is %r, and in %s %r: if they are of different models, answers about "
                "pictures are wrong",
                self.name,
                _BASENAME,
                self.path.name,
                ours,
                self.mmproj.path.name,
                theirs,
            )
        return parts

    @property
    def generation_config(self) -> JsonDict:
        """See Checkpoint."""
        return self.text.generation_config

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """See Checkpoint."""
        return self.text.eos_token_ids

    @property
    def quantization_config(self) -> JsonDict:
        """The language model's, whose layers are named as they are in the whole."""
        settings = dict(self.stored.quantization_config)
        if settings:
            layers = settings["layers"].items()
            settings["layers"] = {f"{LANGUAGE_MODEL}.{name}": layer for name, layer in layers}
        return settings

    @property
    def kept_packed(self) -> Checkpoint:
        """See Checkpoint. The tower is dequantised all the same."""
        packed = self.text.kept_packed
        return VisionGguf(self.name, self.path, self.text, packed, self.mmproj, self.projector)

    def transformers_tokenizer(self) -> Any:
        """See Checkpoint."""
        return self.text.transformers_tokenizer()

    def transformers_model(self, auto_class: Any, **options: Any) -> NoReturn:
        """Raises ConfigError."""
        raise self._not_by_transformers()

    @property
    def transformers_source(self) -> NoReturn:
        """Raises ConfigError."""
        raise self._not_by_transformers()

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """See GgufCheckpoint."""
        for name, tensor in self.stored.weights():
            inner = name.startswith(_MODEL)
            yield self.projector.prefix + name.removeprefix(_MODEL) if inner else name, tensor
        for weight in self.projector.weights:
            values = [dequantized(self.mmproj.tensors[source]) for source in weight.sources]
            made = np.require(weight.make(values), None, ["C", "W"])
            yield weight.name, torch.from_numpy(made)

    def weight_names(self) -> Iterator[str]:
        """See GgufCheckpoint."""
        return self.text.weight_names()

    def stored_tensors(self) -> dict[str, StoredTensor]:
        """See GgufCheckpoint; the language model's are named as `quantization_config` does."""
        text = self.text.stored_tensors().items()
        return {
            **{f"{LANGUAGE_MODEL}.{name}": tensor for name, tensor in text},
            **{name: as_stored(tensor) for name, tensor in self.mmproj.tensors.items()},
        }

    def weight_paths(self) -> list[Path]:
        """Both files."""
        return [*self.text.weight_paths(), self.mmproj.path.resolve()]

    def _not_by_transformers(self) -> ConfigError:
        return ConfigError(
            f"{self.name}: transformers has no processor of pictures for GGUF files; name the "
            "folder in Hugging Face format that they were made of instead, or the language model "
            f"alone, by --mmproj {NO_MMPROJ}"
        )
