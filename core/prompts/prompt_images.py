"""What images make of a prompt: their tokens, who sees whom, and what the encoder gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.hf_config import complete_config
from ..contracts.specs import (
    ImagePreprocessor,
    ImagePrompt,
    JsonDict,
    ModelSpec,
    load_object,
)
from ..deploy.transformers_spec import TransformersSpec
from ..encoder_store.features import Features
from ..protocol.block_hash import hash_block, root_hash
from ..protocol.messages import EngineFacts, MediaInput, MediaSpan
from ..protocol.request_error import RequestError
from ..registry.registry import Registry
from .image_views import ImageViews, PlacedImage
from .sized_image import SizedImage


@dataclass(frozen=True)
class PlacedPrompt:
    """The tokens of a prompt, and what images make of it; see EngineRequest.

    images: in order, once for each time that they are shown. media: each once, not loaded yet.
    """

    token_ids: list[int]
    spans: list[MediaSpan]
    images: list[PlacedImage]
    media: list[MediaInput]
    bidirectional: list[tuple[int, int]]
    cache_salt: str

    @classmethod
    def of_text(cls, token_ids: Sequence[int], cache_salt: str) -> PlacedPrompt:
        """Of a model that takes no images."""
        return cls(list(token_ids), [], [], [], [], cache_salt)


class PromptImages:
    """A model's manner with images: the views it offers of them, and its kind of attention."""

    def __init__(self, spec: ModelSpec, views: ImageViews) -> None:
        self.image_prompt = views.default.image_prompt
        self.views = views
        self._attention = spec.image_attention
        self._has_grids = spec.positions == "mrope"

    @classmethod
    def load(
        cls,
        spec: ModelSpec,
        checkpoint: Checkpoint,
        registry: Registry,
        encode: Callable[[str], Sequence[int]],
        max_tokens: int | None,
    ) -> PromptImages:
        """Construct the plugin's parts for a checkpoint. max_tokens: see ImageViews."""
        assert spec.image_prompt is not None
        load = load_object(spec.image_prompt)

        def make_prompt(preprocessor: ImagePreprocessor) -> ImagePrompt:
            prompt: ImagePrompt = load(checkpoint.config, preprocessor, encode)
            return prompt

        preprocessor = load_preprocessor(spec, checkpoint, registry)
        return cls(spec, ImageViews(preprocessor, make_prompt, max_tokens))

    def place(
        self,
        token_ids: Sequence[int],
        images: Sequence[SizedImage],
        facts: EngineFacts,
        max_tokens: int | None,
        cache_salt: str,
    ) -> PlacedPrompt:
        """Put each image's tokens in place of its placeholder, unless they are there already.

        max_tokens: what each image may take, as the request says. Raises RequestError if the
        prompt or given features don't fit the images, or an image doesn't fit the limit.
        """
        placed = self.views.choose(images, facts.encoder_digest, max_tokens)
        prompt, spans = self._expand(token_ids, placed)
        _check_given_features(placed, facts.hidden_size)
        return PlacedPrompt(
            prompt,
            spans,
            placed,
            self._describe(placed),
            self._bidirectional(prompt, spans),
            self._cache_salt(prompt, spans, cache_salt),
        )

    def _expand(
        self, token_ids: Sequence[int], images: Sequence[PlacedImage]
    ) -> tuple[list[int], list[MediaSpan]]:
        places = self._find_placeholders(token_ids, [image.token_ids for image in images])
        prompt: list[int] = []
        spans: list[MediaSpan] = []
        position = 0
        for (start, end), image in zip(places, images, strict=True):
            prompt += token_ids[position:start]
            spans += self._spans(image.token_ids, len(prompt), image.media_key)
            prompt += image.token_ids
            position = end
        return prompt + list(token_ids[position:]), spans

    def _find_placeholders(
        self, token_ids: Sequence[int], expansions: Sequence[Sequence[int]]
    ) -> list[tuple[int, int]]:
        """Where each image stands in a prompt, [start, end): as one placeholder, or expanded.

        Raises RequestError if the prompt doesn't fit the images.
        """
        single = self.image_prompt.image_token_id
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
        spans: list[MediaSpan] = []
        num_features, position = 0, 0
        for token_id, run in groupby(expansion):
            length = len(list(run))
            if token_id == self.image_prompt.feature_token_id:
                spans.append(MediaSpan(offset + position, length, media_key, num_features))
                num_features += length
            position += length
        return spans

    def _bidirectional(
        self, prompt: Sequence[int], spans: Sequence[MediaSpan]
    ) -> list[tuple[int, int]]:
        if self._attention == "prefix":
            return [(0, len(prompt))]
        if self._attention == "bidirectional":
            return [(span.offset, span.end) for span in spans]
        return []

    def _cache_salt(self, prompt: Sequence[int], spans: Sequence[MediaSpan], salt: str) -> str:
        """Where every token sees the whole prompt, only equal prompts may share blocks."""
        if self._attention != "prefix":
            return salt
        return hash_block(root_hash(salt), prompt, 0, spans).hex()

    def _describe(self, images: Sequence[PlacedImage]) -> list[MediaInput]:
        """Each image once, however often it is shown, and not loaded yet."""
        media = []
        for key, placed in {image.media_key: image for image in images}.items():
            grid = placed.view.preprocessor.grid(placed.image.size) if self._has_grids else None
            media.append(MediaInput(key, placed.num_features, grid=grid))
        return media


def _check_given_features(images: Sequence[PlacedImage], hidden_size: int) -> None:
    """Raises RequestError for features of another shape than the prompt and the model want."""
    for placed in images:
        features, param = placed.image.content, placed.image.param
        wanted = (placed.num_features, hidden_size)
        if isinstance(features, Features) and features.array.shape != wanted:
            raise RequestError(
                f"{param}: the features have shape {list(features.array.shape)}, the model takes "
                f"{list(wanted)} for an image of this size",
                param,
            )


def load_preprocessor(
    spec: ModelSpec, checkpoint: Checkpoint, registry: Registry
) -> ImagePreprocessor:
    """The one that prepares images for a checkpoint. Raises UnsupportedModelError."""
    config: JsonDict = checkpoint.config
    if isinstance(spec, TransformersSpec):
        # Imported only here, as transformers' processors take as long to import as torch.
        load = load_object("octavo.core.deploy.processor_images:ProcessorPreprocessor")
        folder, _ = checkpoint.transformers_source
        deployed: ImagePreprocessor = load(folder)
        return deployed
    if spec.preprocessor is not None:
        path = spec.preprocessor
    else:
        config = complete_config(config["vision_config"])
        path = registry.encoder_for_config(config).preprocessor
    preprocessor: ImagePreprocessor = load_object(path)(config, checkpoint.image_processor_config)
    return preprocessor
