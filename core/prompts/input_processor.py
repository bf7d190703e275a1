"""From messages or prompts with images to an EngineRequest, checked against the model's limits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.generation_defaults import GenerationDefaults
from ..contracts.specs import ImageSize
from ..models.model_choice import choose_model
from ..protocol.config import EngineConfig
from ..protocol.constraints.token_automaton import TokenAutomaton
from ..protocol.messages import EngineFacts, EngineRequest, MediaPayload
from ..protocol.request_error import RequestError
from ..protocol.sampling_params import SamplingParams, check_num_logprobs
from ..registry.registry import Registry
from ..system.garbage import paused_collections
from .grammar_check import GrammarCheck
from .image_views import PlacedImage
from .prompt_cost import PromptBudget
from .prompt_images import PlacedPrompt, PromptImages
from .sized_image import SizedImage
from .tokenizer import Tokenizer

_MAX_SALT_LENGTH = 1024


def salt_within(scope: str, cache_salt: str) -> str:
    """That no request of another scope has, whatever salt it gives."""
    return f"{len(scope)}:{scope}{cache_salt}" if scope else cache_salt


@dataclass(frozen=True)
class RequestOptions:
    """What a request may ask for beside sampling; see EngineRequest.

    cache_scope: of whom it shares caches with; nothing for all.
    max_image_tokens: what each of its images may take of the prompt.
    arrival: when it arrived, in seconds of `time.monotonic`; None for now.
    client: who sent it; clients share by weight, which is that of this one.
    continues_text: whether its answers go on with the text of the prompt.
    background: whether it has only what others leave; it has no timeout but its own.
    cuts_to_context: whether a max_tokens that is more than the prompt leaves of the context is cut
        to that; it is refused otherwise.
    """

    priority: int = 0
    cache_salt: str = ""
    queue_timeout: float | None = None
    timeout: float | None = None
    max_image_tokens: int | None = None
    arrival: float | None = None
    client: str = ""
    continues_text: bool = False
    weight: float = 1.0
    background: bool = False
    cuts_to_context: bool = False
    cache_scope: str = ""

    def __post_init__(self) -> None:
        if self.max_image_tokens is not None and self.max_image_tokens < 1:
            raise RequestError(
                f"max_image_tokens must be at least 1, got {self.max_image_tokens}",
                "max_image_tokens",
            )
        if len(self.cache_salt) > _MAX_SALT_LENGTH:
            raise RequestError(
                f"cache_salt must have at most {_MAX_SALT_LENGTH} characters", "cache_salt"
            )
        for name in ("queue_timeout", "timeout"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise RequestError(f"{name} must be above 0 seconds, got {value}", name)

    @property
    def salt(self) -> str:
        """Its cache_salt, within its scope."""
        return salt_within(self.cache_scope, self.cache_salt)

    def with_defaults(self, config: EngineConfig) -> RequestOptions:
        """With the operator's timeouts, where the request has none of its own."""
        if self.background:
            return self
        return replace(
            self,
            queue_timeout=self.queue_timeout or config.queue_timeout,
            timeout=self.timeout or config.request_timeout,
        )


_NO_OPTIONS = RequestOptions()
#: Sizes that a model which cuts or scales images by their size would treat differently.
_SIZES = (ImageSize(512, 512), ImageSize(1600, 500), ImageSize(300, 900))


@dataclass(frozen=True)
class BuiltRequest:
    """A request whose images have no payload yet. images: each by its media key; facts: of the
    engine that it was built for."""

    request: EngineRequest
    images: dict[str, PlacedImage]
    facts: EngineFacts

    def with_payloads(self, payloads: Mapping[str, MediaPayload]) -> EngineRequest:
        """The request with what is to be sent of its images."""
        return with_payloads(self.request, payloads)


def with_payloads(request: EngineRequest, payloads: Mapping[str, MediaPayload]) -> EngineRequest:
    """A request with the payloads of its images, by media key; some may have none."""
    media = [
        msgspec.structs.replace(item, payload=payloads.get(item.media_key))
        for item in request.media
    ]
    return msgspec.structs.replace(request, media=media)


class InputProcessor:
    """Builds requests; holds the tokenizer and the weightless half of the vision encoder.

    max_image_tokens, model_impl, structured_outputs_backend: see EngineConfig.
    """

    @paused_collections()
    def __init__(
        self,
        checkpoint: Checkpoint,
        registry: Registry,
        max_image_tokens: int | None = None,
        model_impl: str = "auto",
        structured_outputs_backend: str = EngineConfig.structured_outputs_backend,
    ) -> None:
        self.tokenizer = Tokenizer(checkpoint)
        grammars = registry.grammar_by_name(structured_outputs_backend)
        self._grammars = GrammarCheck(grammars, self.tokenizer.token_bytes)
        self._defaults = GenerationDefaults.read(checkpoint.generation_config)
        self._logits_processors = sorted(registry.logits_processors)
        self._images: PromptImages | None = None
        self._image_token: str | None = None
        spec = choose_model(checkpoint.config, registry, model_impl)
        if spec.image_prompt is not None:
            encode = self.tokenizer.encode_text
            self._images = PromptImages.load(spec, checkpoint, registry, encode, max_image_tokens)
            prompt = self._images.image_prompt
            self._image_token = self.tokenizer.token_id_text(prompt.image_token_id)
            if checkpoint.processor_chat_template is not None:
                self.tokenizer.use_template(checkpoint.processor_chat_template)
            self.tokenizer.complete_with(prompt.complete, prompt.chat_template)

    @property
    def default_sampling(self) -> dict[str, Any]:
        """The sampling settings that the checkpoint's generation config asks for; see
        GenerationDefaults."""
        return dict(self._defaults.sampling)

    @property
    def takes_images(self) -> bool:
        """Whether the model does."""
        return self._images is not None

    @property
    def takes_forms(self) -> bool:
        """Whether answers can be kept to one, which the vocabulary decides."""
        return self._grammars.obstacle is None

    def size_of_features(self, param: str) -> ImageSize:
        """A size for features that come without their image's, where any will do.

        Raises RequestError if the model writes images of different sizes differently.
        """
        if self._images is None:
            raise RequestError("the model takes no images", param)
        prompt = self._images.image_prompt
        if any(list(prompt.expand(s)) != list(prompt.expand(_SIZES[0])) for s in _SIZES):
            raise RequestError(
                f"{param}: what this model writes for an image depends on its size; give that of "
                "the image as image_size, [width, height]",
                param,
            )
        return _SIZES[0]

    def check_cost(
        self,
        messages: Sequence[Mapping[str, Any]],
        template_options: Mapping[str, Any],
        params: SamplingParams,
        facts: EngineFacts,
    ) -> int:
        """The bytes of text that are to be tokenised for a chat.

        Raises RequestError, before any of it is, if they can't fit the context."""
        prompt = PromptBudget(facts.max_model_len, self.tokenizer.longest_token)
        return prompt.spend(messages, template_options) + self._cost_of_words(params, facts)

    def check_prompt_cost(
        self, prompt: str | Sequence[int], param: str, params: SamplingParams, facts: EngineFacts
    ) -> int:
        """The same for a prompt that is text, or token ids, and its name in errors."""
        words = self._cost_of_words(params, facts)
        if not isinstance(prompt, str):
            self._check_room(len(prompt), facts)
            return words
        budget = PromptBudget(facts.max_model_len, self.tokenizer.longest_token)
        budget.spend_text(prompt, param)
        return budget.num_bytes + words

    def _cost_of_words(self, params: SamplingParams, facts: EngineFacts) -> int:
        budget = PromptBudget(facts.max_model_len, self.tokenizer.longest_token)
        budget.spend_text(params.bad_words, "bad_words")
        return budget.num_bytes

    def encode_chat(
        self, messages: Sequence[dict[str, Any]], template_options: Mapping[str, Any] | None = None
    ) -> list[int]:
        """Prompt ids of a chat, one placeholder id for each image part. template_options: what
        the chat template is given besides the messages."""
        return self.tokenizer.encode_chat(messages, self._image_token, template_options or {})

    def build(
        self,
        request_id: str,
        token_ids: Sequence[int],
        images: Sequence[SizedImage],
        params: SamplingParams,
        facts: EngineFacts,
        options: RequestOptions = _NO_OPTIONS,
    ) -> BuiltRequest:
        """Expand the placeholders and check the images' sizes and the length.

        Raises RequestError, naming the part at fault.
        """
        arrival = time.monotonic() if options.arrival is None else options.arrival
        if not token_ids:
            raise RequestError("the prompt is empty", "prompt")
        prompt = self.place(token_ids, images, facts, options)
        length = len(prompt.token_ids)
        self._check_ids(prompt, facts)
        self._check_params(params, facts)
        room = self._check_room(length, facts)
        if options.cuts_to_context and params.max_tokens is not None:
            params = msgspec.structs.replace(params, max_tokens=min(params.max_tokens, room))
        self._check_length(length, params, facts)
        params = self._limited(length, params, facts)
        request = EngineRequest(
            request_id,
            prompt.token_ids,
            params,
            prompt.spans,
            prompt.media,
            arrival,
            self._banned(params, facts),
            prompt.bidirectional,
            options.priority,
            prompt.cache_salt,
            options.queue_timeout,
            options.timeout,
            facts.encoder_digest,
            options.client,
            continues_text=options.continues_text,
            background=options.background,
            weight=options.weight,
        )
        # Of an image that is named and shown, the one with its content.
        placed = sorted(prompt.images, key=lambda image: image.image.content is not None)
        return BuiltRequest(request, {image.media_key: image for image in placed}, facts)

    def place(
        self,
        token_ids: Sequence[int],
        images: Sequence[SizedImage],
        facts: EngineFacts,
        options: RequestOptions = _NO_OPTIONS,
    ) -> PlacedPrompt:
        """Expand the placeholders, whatever the length. Raises RequestError, naming the image at
        fault."""
        if images and self._images is None:
            raise RequestError("the model takes no images", images[0].param)
        if self._images is None:
            return PlacedPrompt.of_text(token_ids, options.salt)
        return self._images.place(token_ids, images, facts, options.max_image_tokens, options.salt)

    def _limited(self, length: int, params: SamplingParams, facts: EngineFacts) -> SamplingParams:
        """With the checkpoint's limit of an answer, if the request gives none; with that of the
        context if the answer must end within it."""
        room, limit = facts.max_model_len - length, self._defaults.max_new_tokens
        if params.max_tokens is None and params.token_automaton is not None:
            return msgspec.structs.replace(params, max_tokens=room)
        if params.max_tokens is not None or limit is None:
            return params
        limit = max(limit, params.min_tokens)
        return msgspec.structs.replace(params, max_tokens=min(limit, room))

    def _banned(self, params: SamplingParams, facts: EngineFacts) -> list[list[int]]:
        """What spells words that are not to be generated; ids outside the vocabulary can't be."""
        words = [ids for word in params.bad_words for ids in self.tokenizer.encode_word(word)]
        given = (list(ids) for ids in params.bad_words_ids)
        return words + [ids for ids in given if all(0 <= i < facts.vocab_size for i in ids)]

    def _check_ids(self, prompt: PlacedPrompt, facts: EngineFacts) -> None:
        placeholders = sum(span.length for span in prompt.spans)
        outside = sum(not 0 <= token_id < facts.vocab_size for token_id in prompt.token_ids)
        if outside > placeholders:
            raise RequestError(
                f"the prompt has token ids outside the vocabulary of {facts.vocab_size}",
                "prompt_token_ids",
            )

    def _check_params(self, params: SamplingParams, facts: EngineFacts) -> None:
        for name in ("logprobs", "prompt_logprobs"):
            check_num_logprobs(getattr(params, name), facts.max_logprobs, name)
        for name in ("logit_bias", "allowed_token_ids", "stop_token_ids"):
            outside = [i for i in getattr(params, name) or () if not 0 <= i < facts.vocab_size]
            if outside:
                raise RequestError(
                    f"{name} has token id {outside[0]}, outside the vocabulary of "
                    f"{facts.vocab_size}",
                    name,
                )
        if params.token_automaton is not None:
            self._check_automaton(params.token_automaton, params.stop_token_ids, facts)
        if params.structured_outputs is not None:
            self._grammars.check(params.structured_outputs)
        for name in params.logits_processors:
            if name not in self._logits_processors:
                known = ", ".join(self._logits_processors) or "none"
                raise RequestError(
                    f"no plugin brings a logits processor {name!r}; installed: {known}",
                    "logits_processors",
                )

    def _check_automaton(
        self, automaton: TokenAutomaton, stop_token_ids: Sequence[int], facts: EngineFacts
    ) -> None:
        ends = {*facts.eos_token_ids, *stop_token_ids}
        if not ends:
            raise RequestError(
                "token_automaton needs a token that ends the answer, and the model has none; give "
                "stop_token_ids",
                "token_automaton",
            )
        if early := ends & automaton.token_ids:
            raise RequestError(
                f"token_automaton goes on after token {min(early)}, which ends the answer",
                "token_automaton",
            )
        for token_id in automaton.token_ids:
            if not 0 <= token_id < facts.vocab_size:
                raise RequestError(
                    f"token_automaton has token id {token_id}, outside the vocabulary of "
                    f"{facts.vocab_size}",
                    "token_automaton",
                )

    def _check_room(self, length: int, facts: EngineFacts) -> int:
        """What a prompt of so many tokens leaves of the context."""
        room = facts.max_model_len - length
        if room < 1:
            raise RequestError(
                f"the prompt has {length} tokens; the context of {facts.max_model_len} leaves no "
                "room for an answer",
                "messages",
            )
        return room

    def _check_length(self, length: int, params: SamplingParams, facts: EngineFacts) -> None:
        room = self._check_room(length, facts)
        if params.max_tokens is not None and params.max_tokens > room:
            raise RequestError(
                f"max_tokens is {params.max_tokens}, but a prompt of {length} tokens leaves "
                f"{room} of the context of {facts.max_model_len}",
                "max_tokens",
            )
