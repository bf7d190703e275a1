"""What a model answers about pictures as it was loaded, to hold the deployed one against: its
prompts, what its tower gives, and logits."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoProcessor

from ..checkpoints.checkpoint import Checkpoint
from ..contracts.interfaces import LanguageModel
from ..contracts.specs import ImageSize
from ..deploy.processor_images import EXTRAS
from ..deploy.tower_output import features_of
from ..encoder_store.media_key import picture_key
from ..engine.execution.model_runner import ModelRunner
from ..engine.scheduling.request import Request
from ..media_pool.prepare_image import prepare_image
from ..prompts.input_processor import InputProcessor
from ..prompts.sized_image import SizedImage
from ..protocol.config import ConfigError
from ..protocol.errors import RequestError
from ..protocol.media_limits import MediaLimits
from ..protocol.messages import EngineFacts, EngineRequest, MediaInput
from ..protocol.sampling_params import SamplingParams
from ..protocol.scheduler_output import SchedulerOutput
from ..registry.registry import get_registry
from .agreement import Agreement, distance, require_agreement, within_rounding

# Not typed.
_loader: Any = AutoProcessor
#: What a tower gets of what a processor makes; images that are filled up are refused elsewhere.
_SERVED = {"pixel_values", "pixel_attention_mask", *EXTRAS}
_NUM_TOKENS = 3
_BLOCK_SIZE = 16
_WORDS = "What is this?"
#: Width and height of the pictures of each prompt: models cut and scale them by their shape, and
#: some treat a picture differently beside another.
_PROMPTS = (((64, 48),), ((45, 90), (120, 50)))


@dataclass(frozen=True)
class _Answer:
    """transformers' side. token_ids: the prompt's and the answer's; logits: [num_tokens,
    vocab_size]; features: [num_features, hidden_size] of all pictures, one after another."""

    pictures: Sequence[Image.Image]
    prompt: list[int]
    token_ids: list[int]
    logits: Tensor
    features: Tensor


class PictureCheck:
    """A transformers model's greedy answers about generated pictures, through its own processor.

    Raises ConfigError if it can't be asked, or gives more for a picture than is served.
    """

    @torch.inference_mode()
    def __init__(self, model: Any, checkpoint: Checkpoint) -> None:
        self._name = checkpoint.name
        self._inputs = InputProcessor(checkpoint, get_registry(), model_impl="transformers")
        processor = _loader.from_pretrained(checkpoint.path)
        self._answers = []
        for sizes in _PROMPTS:
            pictures = [_picture(i, size) for i, size in enumerate(sizes)]
            inputs = _transformers_inputs(processor, pictures).to(model.device, model.dtype)
            self._answers.append(_ask(model, inputs, pictures))

    @torch.inference_mode()
    def compare(self, model: LanguageModel, dtype: torch.dtype) -> Agreement:
        """Ask a deployed model the same, as the engine does. Raises ConfigError for a prompt or
        features that differ; see `require_agreement` for the rest."""
        found, expected = [], []
        for answer in self._answers:
            subject = f"{len(answer.pictures)} picture{'s' * (len(answer.pictures) > 1)}"
            if len(answer.token_ids) > model.max_position_embeddings:
                continue
            request, payloads = self._build(answer.pictures, model, subject)
            if request.prompt_token_ids != answer.prompt:
                self._refuse(
                    f"{subject}: its prompt is {_first_difference(request, answer.prompt)}"
                )
            num_blocks = -(-len(answer.token_ids) // _BLOCK_SIZE)
            device = answer.logits.device
            runner = ModelRunner(model, num_blocks, _BLOCK_SIZE, device, dtype, dtype)
            features = torch.cat(runner.encode_images(payloads)).float()
            if features.shape != answer.features.shape:
                self._refuse(
                    f"{subject}: features of shape {list(features.shape)} for "
                    f"{list(answer.features.shape)}"
                )
            apart = distance(features, answer.features)
            if not within_rounding(apart, dtype):
                self._refuse(f"{subject}: features differ by {apart:.1e} of their spread")
            logits = _run(runner, num_blocks, request, payloads, answer.token_ids)
            require_agreement(Agreement.of(logits, answer.logits), dtype, self._name, subject)
            found.append(logits)
            expected.append(answer.logits)
        if not found:
            self._refuse("its context is too short for a picture")
        return Agreement.of(torch.cat(found), torch.cat(expected))

    def _build(
        self, pictures: Sequence[Image.Image], model: LanguageModel, subject: str
    ) -> tuple[EngineRequest, list[MediaInput]]:
        facts = EngineFacts(
            max_model_len=model.max_position_embeddings + 1,
            vocab_size=model.vocab_size,
            num_blocks=0,
            block_size=_BLOCK_SIZE,
            eos_token_ids=[],
            hidden_size=model.hidden_size,
            dtype="",
            encoder_digest="",
        )
        images = [
            SizedImage(ImageSize(*picture.size), picture_key(picture), "picture", picture)
            for picture in pictures
        ]
        content = [*({"type": "image"} for _ in pictures), {"type": "text", "text": _WORDS}]
        try:
            token_ids = self._inputs.encode_chat([{"role": "user", "content": content}])
            built = self._inputs.build(
                subject, token_ids, images, SamplingParams(max_tokens=1), facts
            )
        except RequestError as error:
            self._refuse(f"{subject}: {error}")
        prepared = {
            key: prepare_image(
                placed.image.content, placed.view.preprocessor, MediaLimits(), (0, 0, 0)
            ).payload
            for key, placed in built.images.items()
            if isinstance(placed.image.content, Image.Image)
        }
        return built.request, built.with_payloads(prepared).media

    def _refuse(self, reason: str) -> NoReturn:
        raise ConfigError(
            f"{self._name}: deployed automatically it answers about pictures other than in "
            f"transformers, so that it is not served; {reason}"
        )


def _transformers_inputs(processor: Any, pictures: Sequence[Image.Image]) -> Any:
    """Through the chat template, or for a model without one the pictures before the words."""
    if processor.chat_template:
        content: list[Mapping[str, Any]] = [{"type": "image", "image": p} for p in pictures]
        content.append({"type": "text", "text": _WORDS})
        return processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
    text = processor.image_token * len(pictures) + _WORDS
    inputs = processor(images=[list(pictures)], text=[text])
    inputs.pop("labels", None)
    return inputs.convert_to_tensors("pt")


def _ask(model: Any, inputs: Any, pictures: Sequence[Image.Image]) -> _Answer:
    accepted = inspect.signature(model.get_image_features).parameters
    given = {name: value for name, value in inputs.items() if name in accepted}
    unserved = sorted(set(given) - _SERVED)
    if unserved:
        raise ConfigError(
            f"its tower takes {', '.join(unserved)} besides pixels, which automatic deployment "
            "doesn't give it"
        )
    result = model.generate(
        **inputs,
        do_sample=False,
        num_beams=1,
        num_return_sequences=1,
        max_new_tokens=_NUM_TOKENS,
        min_new_tokens=_NUM_TOKENS,
        output_logits=True,
        return_dict_in_generate=True,
    )
    prompt: list[int] = inputs["input_ids"][0].tolist()
    return _Answer(
        pictures,
        prompt,
        result.sequences[0].tolist()[: len(prompt) + _NUM_TOKENS - 1],
        torch.cat(result.logits).float(),
        features_of(model.get_image_features(**given)).float(),
    )


def _run(
    runner: ModelRunner,
    num_blocks: int,
    message: EngineRequest,
    payloads: list[MediaInput],
    token_ids: Sequence[int],
) -> Tensor:
    """Logits [num_tokens, vocab_size] after the prompt, and after each token of an answer."""
    (request,) = Request.fan_out(message)
    runner.add(request.announce())
    rows = []
    for end in range(len(message.prompt_token_ids), len(token_ids) + 1):
        request.token_ids[:] = token_ids[:end]
        chunk = request.next_chunk(end - request.num_computed_tokens, 0, list(range(num_blocks)))
        rows.append(runner.execute(SchedulerOutput([chunk], encode=payloads)).logits)
        request.num_computed_tokens, payloads = end, []
    return torch.cat(rows)


def _picture(seed: int, size: tuple[int, int]) -> Image.Image:
    """Something at every scale: coarse noise under a gradient."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    coarse = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    ramp = np.linspace(0, 255, size[0] * size[1], dtype=np.uint8).reshape(size[::-1])
    return Image.blend(coarse, Image.fromarray(ramp).convert("RGB"), 0.3)


def _first_difference(request: EngineRequest, expected: Sequence[int]) -> str:
    ours = request.prompt_token_ids
    pairs = enumerate(zip(ours, expected, strict=False))
    at = next((i for i, (own, theirs) in pairs if own != theirs), min(len(ours), len(expected)))
    return f"of {len(ours)} tokens for {len(expected)}, different from number {at} on"
