"""How each image of a prompt is prepared and written: as the model would, or within a limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from ..contracts.specs import ImagePreprocessor, ImagePrompt
from ..encoder_store.features import Features
from ..encoder_store.media_key import features_key
from ..protocol.request_error import RequestError
from .sized_image import SizedImage

#: What an image of `detail: low` may take of the prompt, where the model leaves a choice.
LOW_DETAIL_TOKENS = 128
DETAILS = ("auto", "low", "high")
#: Limits and numbers of images come from requests, so that their kinds are not all kept.
_KEPT_VIEWS = 64


@dataclass(frozen=True)
class ImageView:
    """A preprocessor and the prompt that goes with it; see `derive`."""

    preprocessor: ImagePreprocessor
    image_prompt: ImagePrompt
    num_images: int
    limit: int | None

    @cached_property
    def fingerprint(self) -> str:
        """The preprocessor's."""
        return self.preprocessor.fingerprint()

    def expand(self, image: SizedImage) -> list[int]:
        """The tokens of an image. Raises RequestError if the model can't take it."""
        try:
            return list(self.image_prompt.expand(image.size))
        except ValueError as error:
            raise RequestError(f"{image.param}: {error}", image.param) from error


@dataclass(frozen=True)
class PlacedImage:
    """An image as it stands in a prompt: in the view chosen for it.

    media_key: the name of its features; see `media_key.py`.
    token_ids: what it is in the prompt.
    """

    image: SizedImage
    view: ImageView
    media_key: str
    token_ids: list[int]

    @property
    def num_features(self) -> int:
        """How many of the tokens stand for a feature."""
        return self.token_ids.count(self.view.image_prompt.feature_token_id)


def derive(
    preprocessor: ImagePreprocessor, num_images: int, limit: int | None
) -> ImagePreprocessor:
    """The preprocessor for an image among so many that may take so many tokens."""
    preprocessor = preprocessor.among(num_images)
    return preprocessor if limit is None else preprocessor.limited(limit)


class ImageViews:
    """Chooses views. make_prompt: the model's ImagePrompt for a preprocessor; max_tokens: what
    any image may take of a prompt, as the operator says."""

    def __init__(
        self,
        preprocessor: ImagePreprocessor,
        make_prompt: Callable[[ImagePreprocessor], ImagePrompt],
        max_tokens: int | None = None,
    ) -> None:
        self.default = ImageView(preprocessor, make_prompt(preprocessor), 1, None)
        self._make_prompt = make_prompt
        self._max_tokens = max_tokens
        self._view = lru_cache(_KEPT_VIEWS)(self._make_view)

    def choose(
        self,
        images: Sequence[SizedImage],
        encoder_digest: str = "",
        max_tokens: int | None = None,
    ) -> list[PlacedImage]:
        """A view for each image of one prompt. max_tokens: a limit of the request's own.

        Raises RequestError for an image that no view brings within the limit.
        """
        limits = [limit for limit in (self._max_tokens, max_tokens) if limit is not None]
        limit = min(limits, default=None)
        return [self._choose(image, len(images), limit, encoder_digest) for image in images]

    def _choose(
        self, image: SizedImage, num_images: int, limit: int | None, encoder_digest: str
    ) -> PlacedImage:
        wanted = limit
        if isinstance(image.content, Features):
            wanted = None
        elif image.detail == "low":
            wanted = LOW_DETAIL_TOKENS if limit is None else min(limit, LOW_DETAIL_TOKENS)
        view = self._view(num_images, None)
        token_ids = view.expand(image)
        if wanted is not None and len(token_ids) > wanted:
            view = self._view(num_images, wanted)
            token_ids = view.expand(image)
        if limit is not None and len(token_ids) > limit:
            raise RequestError(
                f"{image.param}: the image takes {len(token_ids)} tokens, and the model can't show "
                f"it in max_image_tokens, {limit}",
                image.param,
            )
        key = features_key(image.content_key, view.fingerprint, encoder_digest)
        return PlacedImage(image, view, key, token_ids)

    def _make_view(self, num_images: int, limit: int | None) -> ImageView:
        preprocessor = derive(self.default.preprocessor, num_images, limit)
        if preprocessor is self.default.preprocessor:
            return self.default
        return ImageView(preprocessor, self._make_prompt(preprocessor), num_images, limit)
