"""From messages or prompts with images to an EngineRequest, checked against the model's limits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
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
            self._image_prompt = prompt = image_prompt(
                checkpoint.config, self._preprocessor, self.tokenizer.encode_text
            )
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
        media = self._preprocess(images, spans)
        return EngineRequest(
            request_id,
            prompt,
            params,
            spans,
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
        """Put each image's tokens in place of its placeholder, unless they are there already."""
        if self._image_prompt is None:
            return list(token_ids), []
        expansions = [list(self._image_prompt.expand(ImageSize(*i.image.size))) for i in images]
        places = self._find_placeholders(token_ids, expansions)
        prompt: list[int] = []
        spans: list[MediaSpan] = []
        position = 0
        for (start, end), expansion, image in zip(places, expansions, images, strict=True):
            prompt += token_ids[position:start]
            spans += self._spans(expansion, len(prompt), image.media_key)
            prompt += expansion
            position = end
        return prompt + list(token_ids[position:]), spans

    def _find_placeholders(
        self, token_ids: Sequence[int], expansions: Sequence[Sequence[int]]
    ) -> list[tuple[int, int]]:
        """Where each image stands in a prompt, [start, end): as one placeholder, or expanded.

        Raises RequestError if the prompt doesn't fit the images.
        """
        assert self._image_prompt is not None
        single = self._image_prompt.image_token_id
        found = [i for i, token_id in enumerate(token_ids) if token_id == single]
        if len(found) == len(expansions):
            return [(i, i + 1) for i in found]
        places, position = [], 0
        for expansion in expansions:
            last = len(token_ids) - len(expansion)
            while position <= last and (
                list(token_ids[position : position + len(expansion)]) != expansion
            ):
                position += 1
            places.append((position, position + len(expansion)))
            position += len(expansion)
        written = sum(expansion.count(single) for expansion in expansions)
        if position > len(token_ids) or written != len(found):
            raise RequestError(
                f"the prompt has {len(found)} image placeholders for {len(expansions)} images",
                "prompt",
            )
        return places

    def _spans(self, expansion: Sequence[int], offset: int, media_key: str) -> list[MediaSpan]:
        """The runs of feature tokens in an image's tokens, which begin at `offset`."""
        assert self._image_prompt is not None
        spans: list[MediaSpan] = []
        num_features, position = 0, 0
        for token_id, run in groupby(expansion):
            length = len(list(run))
            if token_id == self._image_prompt.feature_token_id:
                spans.append(MediaSpan(offset + position, length, media_key, num_features))
                num_features += length
            position += length
        return spans

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

    def _preprocess(
        self, images: Sequence[ImageInput], spans: Sequence[MediaSpan]
    ) -> list[MediaInput]:
        """Each picture once, however often it is shown."""
        features: dict[str, int] = {}
        for span in spans:
            end = span.feature_start + span.length
            features[span.media_key] = max(features.get(span.media_key, 0), end)
        distinct = {image.media_key: image.image for image in images}
        media = []
        for key, picture in distinct.items():
            assert self._preprocessor is not None
            done = self._preprocessor.preprocess(picture)
            media.append(MediaInput(key, features[key], Pixels(done.pixel_values), done.layout))
        return media


def _default_sampling(checkpoint: Checkpoint) -> dict[str, Any]:
    config = checkpoint.generation_config
    if config.get("do_sample") is False:
        return {"temperature": 0.0}
    names = ("temperature", "top_k", "top_p")
    return {name: config[name] for name in names if config.get(name) is not None}
