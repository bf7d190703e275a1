"""A language model in one GGUF file, as llama.cpp writes them; its tensors are dequantised."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedTokenizerFast,
    modeling_gguf_pytorch_utils,
)

from ...contracts.specs import JsonDict, StoredTensor, load_object
from ...protocol.config import ConfigError
from ..checkpoint import Checkpoint
from .gguf_config import check_architecture, gguf_config
from .gguf_file import GgufFile, GgufTensor, read_gguf
from .gguf_metadata import FACTOR_TENSORS, GgufMetadata
from .gguf_tokenizer import check_tokenizer, tokenizer_parts
from .gguf_values import as_stored, dequantized

logger = logging.getLogger(__name__)

_SAMPLING = "general.sampling."
#: Defaults of llama.cpp's sampling, by its names: transformers' name and the value.
_LLAMA_CPP_SAMPLING = {
    "temp": ("temperature", 0.8),
    "top_k": ("top_k", 40),
    "top_p": ("top_p", 0.95),
    "min_p": ("min_p", 0.0),
}
#: Keys of tokens that end an answer, besides the EOS token.
_TURN_ENDS = ("tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")
#: transformers' own loader of these files; it is not typed.
_gguf: Any = modeling_gguf_pytorch_utils
_auto_model: Any = AutoModelForCausalLM
_tokenizer_class: Any = PreTrainedTokenizerFast


@dataclass(frozen=True)
class GgufCheckpoint(Checkpoint):
    """path: the file. Raises ConfigError if it is not one, of an unknown architecture, or holds
    something that can't be used, naming that."""

    def __post_init__(self) -> None:
        # Parse eagerly: a damaged file fails here.
        assert self.places

    @cached_property
    def config(self) -> JsonDict:
        """Config in the form of `config.json`."""
        metadata = self.metadata
        with self._named():
            check_tokenizer(metadata)
            return gguf_config(metadata)

    @property
    def tokenizer_parts(self) -> JsonDict:
        """See Checkpoint."""
        metadata = self.metadata
        with self._named():
            return tokenizer_parts(metadata)

    def transformers_tokenizer(self) -> Any:
        """See Checkpoint."""
        parts = self.tokenizer_parts
        return _tokenizer_class(
            tokenizer_object=Tokenizer.from_str(parts["backend"]),
            chat_template=parts["chat_template"],
            **parts["special_tokens"],
        )

    def transformers_model(self, auto_class: Any, **options: Any) -> Any:
        """See Checkpoint; of the tensors as they are read here, once and whole."""
        (name,) = self.config["architectures"]
        weights = dict(self.weights())
        return getattr(transformers, name).from_pretrained(
            None, state_dict=weights, **self.transformers_config, **options
        )

    @cached_property
    def generation_config(self) -> JsonDict:
        """Sampling recommended by the file, else llama.cpp's defaults."""
        given = {
            key.removeprefix(_SAMPLING): value
            for key, value in self.metadata.others.items()
            if key.startswith(_SAMPLING)
        }
        unused = sorted(set(given) - set(_LLAMA_CPP_SAMPLING))
        if unused:
            logger.warning(
                "%s: the file's recommendations for sampling are not followed: %s",
                self.name,
                ", ".join(f"{name} {given[name]}" for name in unused),
            )
        return {
            name: given.get(key, default) for key, (name, default) in _LLAMA_CPP_SAMPLING.items()
        }

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """Also those that end a turn or a message, as llama.cpp has it."""
        others = self.metadata.others
        ends = (others[key] for key in _TURN_ENDS if key in others)
        further = others.get("tokenizer.ggml.eos_token_ids") or ()
        return tuple(dict.fromkeys((*super().eos_token_ids, *ends, *further)))

    @property
    def kept_packed(self) -> Checkpoint:
        """See Checkpoint."""
        packed = load_object(f"{__package__}.packed_gguf:PackedGgufCheckpoint")
        checkpoint: Checkpoint = packed(self.name, self.path, self)
        return checkpoint

    @property
    def image_processor_config(self) -> JsonDict:
        """Empty: these files hold language models alone."""
        return {}

    @property
    def transformers_source(self) -> tuple[Path, dict[str, str]]:
        """See Checkpoint."""
        return self.path.parent, {"gguf_file": self.path.name}

    @property
    def transformers_config(self) -> dict[str, Any]:
        """See Checkpoint; transformers alone would leave parts of the file out."""
        return {"config": AutoConfig.for_model(**self.config)}

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Each tensor in float32 under the name that Hugging Face gives it, one at a time. Raises
        ConfigError for one whose shape doesn't fit."""
        for name, tensor in self.tensors():
            yield from self.placed(name, tensor)

    def tensors(self) -> Iterator[tuple[str, GgufTensor]]:
        """Those of the file that the model takes; the config has the others."""
        return (item for item in self.file.tensors.items() if item[0] not in FACTOR_TENSORS)

    def placed(self, name: str, tensor: GgufTensor) -> Iterator[tuple[str, Tensor]]:
        """What the model takes of one of the file."""
        values = np.require(self.processed(name, dequantized(tensor)), None, ["C", "W"])
        yield self.places[name], torch.from_numpy(values)

    def processed(self, name: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """What transformers makes of a tensor's values."""
        try:
            result = self._tensor_processor().process(
                weights=values,
                name=name,
                tensor_key_mapping=self.places,
                parsed_parameters={},
            )
        except ValueError as error:
            raise ConfigError(
                f"{self.name}: the GGUF file's tensor {name} is of another shape than its "
                f"model's: {error}"
            ) from error
        processed: NDArray[np.float32] = result.weights
        return processed

    def weight_names(self) -> Iterator[str]:
        """None: whether the head is tied, the config has from the tensors."""
        return iter(())

    def stored_tensors(self) -> dict[str, StoredTensor]:
        """See Checkpoint."""
        return {self.places[name]: as_stored(tensor) for name, tensor in self.tensors()}

    def weight_paths(self) -> list[Path]:
        """The file, whose tensors may be quantised."""
        return [self.path.resolve()]

    @cached_property
    def file(self) -> GgufFile:
        """What is in it."""
        return read_gguf(self.path)

    @cached_property
    def metadata(self) -> GgufMetadata:
        """What it says, apart from tensors' values."""
        file = self.file
        with self._named():
            check_architecture(str(file.keys.get("general.architecture")))
            return GgufMetadata(file)

    @cached_property
    def places(self) -> dict[str, str]:
        """The name that transformers gives each tensor, by the file's. Raises ConfigError for a
        tensor that no part of the model takes."""
        config = self.config
        with torch.device("meta"):
            model = _auto_model.from_config(AutoConfig.for_model(**config))
        in_config = FACTOR_TENSORS if config.get("rope_parameters") else frozenset()
        wanted = set(self.metadata.tensor_names) - in_config
        # transformers makes its table of names again for each module, which takes seconds; only
        # files made from a part of the model need more than the whole one's.
        whole = SimpleNamespace(
            config=model.config, state_dict=model.state_dict, named_children=list
        )
        places = self._mapped(whole)
        if wanted - set(places):
            places = self._mapped(model)
        unused = wanted - set(places)
        if unused:
            raise ConfigError(
                f"{self.name}: the {config['model_type']} model has no use for {len(unused)} of "
                f"the GGUF file's tensors, such as {min(unused)}; it is not the model that the "
                "file is of"
            )
        return places

    def _mapped(self, model: Any) -> dict[str, str]:
        """transformers' names of a model's tensors, by those of GGUF."""
        processor, architecture = self._tensor_processor(), self.metadata.architecture
        names: dict[str, str] = _gguf.get_gguf_hf_weights_map(model, processor, architecture)
        return names

    def _tensor_processor(self) -> Any:
        """Undoes what llama.cpp's converter did to the tensors of some families."""
        kinds = _gguf.TENSOR_PROCESSORS
        return kinds.get(self.metadata.architecture, _gguf.TensorProcessor)(self.config)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Errors within name the model."""
        try:
            yield
        except ConfigError as error:
            raise ConfigError(f"{self.name}: {error}") from error
