"""From messages or prompts with images to an EngineRequest, checked against the model's limits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ..contracts import ImagePreprocessor, ImagePrompt, ImageSize, load_object
from ..registry import Registry
from .checkpoint import Checkpoint
from .messages import EngineReady, EngineRequest, MediaInput, MediaSpan
from .pixels import Pixels
from .request_error import RequestError
from .sampling_params import SamplingParams
from .tokenizer import Tokenizer


@dataclass(frozen=True)
class ImageInput:
    """An upright RGB picture, its media key, and where it stood in the request."""

    image: Image.Image
    media_key: str
    param: str


@dataclass(frozen=True)
class RequestOptions:
    """What a request may ask for beside sampling; see EngineRequest."""

    priority: int = 0
    cache_salt: str = ""
    queue_timeout: float | None = None
    timeout: float | None = None

    def __post_init__(self) -> None:
        for name in ("queue_timeout", "timeout"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise RequestError(f"{name} must be above 0 seconds, got {value}", name)


_NO_OPTIONS = RequestOptions()


class InputProcessor:
    """Builds requests; holds the tokenizer and the weightless half of the vision encoder."""

    def __init__(self, checkpoint: Checkpoint, registry: Registry) -> None:
        self.tokenizer = Tokenizer(checkpoint)
        self._default = _default_sampling(checkpoint)
        self._logits_processors = sorted(registry.logits_processors)
        self._preprocessor: ImagePreprocessor | None = None
        self._image_prompt: ImagePrompt | None = None
        self._image_token: str | None = None
        spec = registry.model_for_config(checkpoint.config)
        if spec.image_prompt is not None:
            vision_config = checkpoint.config["vision_config"]
            encoder = registry.encoder_for_config(vision_config)
            preprocessor = load_object(encoder.preprocessor)
            self._preprocessor = preprocessor(vision_config, checkpoint.image_processor_config)
            image_prompt = load_object(spec.image_prompt)
            self._image_prompt = prompt = image_prompt(checkpoint.config, self._preprocessor)
            self._image_token = self.tokenizer.token_id_text(prompt.image_token_id)

    @property
    def default_sampling(self) -> dict[str, Any]:
        """The sampling settings that the checkpoint's generation config asks for."""
        return dict(self._default)

    def encode_chat(self, messages: Sequence[dict[str, Any]]) -> list[int]:
        """Prompt ids of a chat, one placeholder id for each image part."""
        return self.tokenizer.encode_chat(messages, self._image_token)

    def build(
        self,
        request_id: str,
        token_ids: Sequence[int],
        images: Sequence[ImageInput],
        params: SamplingParams,
        limits: EngineReady,
        options: RequestOptions = _NO_OPTIONS,
    ) -> EngineRequest:
        """Expand the placeholders, preprocess the images and check the length.

        Raises RequestError, naming the part at fault.
        """
        arrival = time.monotonic()
        if not token_ids:
            raise RequestError("the prompt is empty", "prompt")
        if images and self._image_prompt is None:
            raise RequestError("the model takes no images", images[0].param)
        prompt, spans = self._expand(token_ids, images)
        self._check_ids(prompt, spans, limits)
        self._check_params(params, limits)
        self._check_length(len(prompt), params, limits)
        media = [
            MediaInput(span, self._pixels(image)) for span, image in zip(spans, images, strict=True)
        ]
        return EngineRequest(
            request_id,
            prompt,
            params,
            media,
            arrival,
            [ids for word in params.bad_words for ids in self.tokenizer.encode_word(word)],
            options.priority,
            options.cache_salt,
            options.queue_timeout,
            options.timeout,
        )

    def _expand(
        self, token_ids: Sequence[int], images: Sequence[ImageInput]
    ) -> tuple[list[int], list[MediaSpan]]:
        """Give each image as many placeholders as it has features, unless they are there."""
        if self._image_prompt is None:
            return list(token_ids), []
        placeholder = self._image_prompt.image_token_id
        lengths = [self._image_prompt.num_tokens(ImageSize(*i.image.size)) for i in images]
        found = sum(token_id == placeholder for token_id in token_ids)
        expanded = found == sum(lengths) and found != len(images)
        if not expanded and found != len(images):
            raise RequestError(
                f"the prompt has {found} image placeholders for {len(images)} images", "prompt"
            )
        prompt: list[int] = []
        spans: list[MediaSpan] = []
        rest = iter(zip(images, lengths, strict=True))
        skip = 0
        for token_id in token_ids:
            if token_id != placeholder:
                prompt.append(token_id)
            elif skip:
                skip -= 1
            else:
                image, length = next(rest)
                spans.append(MediaSpan(len(prompt), length, image.media_key))
                prompt += [placeholder] * length
                skip = length - 1 if expanded else 0
        return prompt, spans

    def _check_ids(
        self, prompt: Sequence[int], spans: Sequence[MediaSpan], limits: EngineReady
    ) -> None:
        placeholders = sum(span.length for span in spans)
        outside = sum(not 0 <= token_id < limits.vocab_size for token_id in prompt)
        if outside > placeholders:
            raise RequestError(
                f"the prompt has token ids outside the vocabulary of {limits.vocab_size}",
                "prompt_token_ids",
            )

    def _check_params(self, params: SamplingParams, limits: EngineReady) -> None:
        for name in ("logit_bias", "allowed_token_ids", "stop_token_ids"):
            outside = [i for i in getattr(params, name) or () if not 0 <= i < limits.vocab_size]
            if outside:
                raise RequestError(
                    f"{name} has token id {outside[0]}, outside the vocabulary of "
                    f"{limits.vocab_size}",
                    name,
                )
        for name in params.logits_processors:
            if name not in self._logits_processors:
                known = ", ".join(self._logits_processors) or "none"
                raise RequestError(
                    f"no plugin brings a logits processor {name!r}; installed: {known}",
                    "logits_processors",
                )

    def _check_length(self, length: int, params: SamplingParams, limits: EngineReady) -> None:
        room = limits.max_model_len - length
        if room < 1:
            raise RequestError(
                f"the prompt has {length} tokens; the context of {limits.max_model_len} leaves no "
                "room for an answer",
                "messages",
            )
        if params.max_tokens is not None and params.max_tokens > room:
            raise RequestError(
                f"max_tokens is {params.max_tokens}, but a prompt of {length} tokens leaves "
                f"{room} of the context of {limits.max_model_len}",
                "max_tokens",
            )

    def _pixels(self, image: ImageInput) -> Pixels:
        assert self._preprocessor is not None
        return Pixels(self._preprocessor.preprocess(image.image))


def _default_sampling(checkpoint: Checkpoint) -> dict[str, Any]:
    config = checkpoint.generation_config
    if config.get("do_sample") is False:
        return {"temperature": 0.0}
    names = ("temperature", "top_k", "top_p")
    return {name: config[name] for name in names if config.get(name) is not None}
