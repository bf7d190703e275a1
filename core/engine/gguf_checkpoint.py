"""A language model in one GGUF file, as llama.cpp writes them; its tensors are dequantised."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, modeling_gguf_pytorch_utils
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from ..contracts import JsonDict
from .checkpoint import Checkpoint
from .config import ConfigError
from .hf_config import complete_config

_MAGIC = b"GGUF"
#: What transformers itself loads these files with; it is not typed.
_gguf: Any = modeling_gguf_pytorch_utils
_auto_model: Any = AutoModelForCausalLM


@dataclass(frozen=True)
class GgufCheckpoint(Checkpoint):
    """path: the file. Raises ConfigError if it is not one, or of an unknown architecture."""

    def __post_init__(self) -> None:
        with self.path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise ConfigError(f"{self.name}: {self.path} is not a GGUF file")
        # So that a damaged one is refused here, and not by whoever reads it next.
        assert self.config

    @cached_property
    def _parsed(self) -> dict[str, Any]:
        try:
            parsed: dict[str, Any] = _gguf.load_gguf_checkpoint(str(self.path))
        except (ValueError, IndexError, KeyError, OSError) as error:
            raise ConfigError(
                f"{self.name}: the GGUF file can't be read, it is damaged or of an architecture "
                f"that transformers does not know: {error}"
            ) from error
        return parsed

    @cached_property
    def config(self) -> JsonDict:
        """What `config.json` would say."""
        config = {**self._parsed["tokenizer_config"], **self._parsed["config"]}
        architecture = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config["model_type"])
        return complete_config({**config, "architectures": [architecture]})

    @property
    def generation_config(self) -> JsonDict:
        """The file holds none; these are what llama.cpp samples with."""
        return {"temperature": 0.8, "top_k": 40, "top_p": 0.95}

    @property
    def image_processor_config(self) -> JsonDict:
        """Empty: these files hold language models alone."""
        return {}

    @property
    def transformers_source(self) -> tuple[Path, dict[str, str]]:
        """See Checkpoint."""
        return self.path.parent, {"gguf_file": self.path.name}

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Each tensor in float32 under the name that Hugging Face gives it, one at a time."""
        from gguf import GGUFReader, dequantize

        processor = self._tensor_processor()
        with torch.device("meta"):
            model = _auto_model.from_config(AutoConfig.for_model(**self.config))
        names = _gguf.get_gguf_hf_weights_map(model, processor)
        for tensor in GGUFReader(self.path).tensors:
            result = processor.process(
                weights=dequantize(tensor.data, tensor.tensor_type),
                name=tensor.name,
                tensor_key_mapping=names,
                parsed_parameters={},
            )
            if result.name in names:
                yield names[result.name], torch.tensor(result.weights)

    def weight_names(self) -> Iterator[str]:
        """None: whether the head is tied, the config has from the tensors."""
        return iter(())

    def _tensor_processor(self) -> Any:
        """Undoes what llama.cpp's converter did to the tensors of some families."""
        kinds = _gguf.TENSOR_PROCESSORS
        return kinds.get(self.config["model_type"], _gguf.TensorProcessor)(self.config)
