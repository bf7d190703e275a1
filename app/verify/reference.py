"""transformers' side: the same checkpoint through its own processor and model."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    GenerationConfig,
)

from ...core.checkpoints.checkpoint import Checkpoint
from ...core.protocol.config import ConfigError
from .cases import Case

# Not typed.
_generation_config: Any = GenerationConfig
_auto: Any = {"text": AutoModelForCausalLM, "images": AutoModelForImageTextToText}


@dataclass(frozen=True)
class ReferenceAnswer:
    """prompt_token_ids, token_ids: what went in and came out, greedily.

    logits: [num_tokens, vocab_size], float32.
    image_features: [num_features, hidden_size] of all images, one after another, or None.
    """

    prompt_token_ids: list[int]
    token_ids: list[int]
    logits: Tensor
    image_features: Tensor | None


class Reference:
    """A checkpoint in transformers, with attention that leaves nothing out, as soft caps.

    Raises ConfigError if transformers can't load it.
    """

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device) -> None:
        folder, source = checkpoint.transformers_source
        try:
            config = AutoConfig.from_pretrained(folder, **source)
            self.takes_images = hasattr(config, "vision_config")
            load = _auto["images" if self.takes_images else "text"].from_pretrained
            options = {"dtype": dtype, "attn_implementation": "eager", **source}
            given = checkpoint.transformers_config
            self._model = load(folder, **options, **given).to(device).eval()
            # Greedy answers are compared, whatever the checkpoint asks for besides.
            self._model.generation_config = _generation_config()
            processor: Any = AutoProcessor if self.takes_images else AutoTokenizer
            self._processor = processor.from_pretrained(folder, **source)
            self.has_template = bool(self._processor.chat_template)
        except (ImportError, OSError, ValueError, KeyError) as error:
            raise ConfigError(f"{checkpoint.name}: transformers can't load it: {error}") from error

    @torch.inference_mode()
    def answer(self, case: Case, max_tokens: int) -> ReferenceAnswer:
        """Raises ValueError if the processor or the model can't take the case."""
        inputs = self._inputs(case)
        result = self._model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=max_tokens,
            min_new_tokens=max_tokens,
            eos_token_id=-1,
            output_logits=True,
            return_dict_in_generate=True,
        )
        prompt: list[int] = inputs["input_ids"][0].tolist()
        return ReferenceAnswer(
            prompt,
            result.sequences[0, len(prompt) :].tolist(),
            torch.cat(result.logits).float().cpu(),
            self._image_features(inputs) if case.num_images else None,
        )

    def _inputs(self, case: Case) -> Mapping[str, Any]:
        inputs: Any = self._from_template(case) if self.has_template else self._plain(case)
        moved: Mapping[str, Any] = inputs.to(self._model.device)
        return moved

    def _from_template(self, case: Case) -> Any:
        # Templates of language models take strings.
        text_only = [{"role": "user", "content": case.text}]
        return self._processor.apply_chat_template(
            case.messages if self.takes_images else text_only,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )

    def _plain(self, case: Case) -> Any:
        if not self.takes_images:
            return self._processor(case.text, return_tensors="pt")
        if not case.pictures:
            raise ValueError("its processor has no chat template, and takes no text alone")
        text = self._processor.image_token * case.num_images + case.text
        inputs = self._processor(images=[case.pictures], text=[text])
        inputs.pop("labels", None)
        return inputs.convert_to_tensors("pt")

    def _image_features(self, inputs: Mapping[str, Any]) -> Tensor:
        """Whatever get_image_features gives, laid end to end."""
        accepted = inspect.signature(self._model.get_image_features).parameters
        given = {name: value for name, value in inputs.items() if name in accepted}
        features = self._model.get_image_features(**given)
        features = getattr(features, "pooler_output", features)
        pieces = [features] if isinstance(features, Tensor) else features
        return torch.cat([piece.reshape(-1, piece.shape[-1]) for piece in pieces]).float().cpu()
