"""How each image of a prompt is prepared and written: as the model would, or within a limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image

from ..contracts import ImagePreprocessor, ImagePrompt, ImageSize
from .request_error import RequestError

#: What an image of `detail: low` may take of the prompt, where the model leaves a choice.
LOW_DETAIL_TOKENS = 128
DETAILS = ("auto", "low", "high")
#: Limits and numbers of images come from requests, so that their kinds are not all kept.
_KEPT_VIEWS = 64


@dataclass(frozen=True)
class ImageInput:
    """An upright RGB picture, its media key, and where it stood in the request.

    detail: "low" for few tokens; "auto" and "high" are the model's own choice.
    """

    image: Image.Image
    media_key: str
    param: str
    detail: str = "auto"

    @property
    def size(self) -> ImageSize:
        """Width and height."""
        return ImageSize(*self.image.size)


@dataclass(frozen=True)
class ImageView:
    """A preprocessor and the prompt that goes with it."""

    preprocessor: ImagePreprocessor
    image_prompt: ImagePrompt

    def expand(self, image: ImageInput) -> list[int]:
        """The tokens of an image. Raises RequestError if the model can't take it."""
        try:
            return list(self.image_prompt.expand(image.size))
        except ValueError as error:
            raise RequestError(f"{image.param}: {error}", image.param) from error


@dataclass(frozen=True)
class ViewedImage:
    """An image with the view chosen for it.

    media_key: that of the image; a view other than the model's own makes it another.
    token_ids: what it is in the prompt.
    """

    image: ImageInput
    view: ImageView
    media_key: str
    token_ids: list[int]


class ImageViews:
    """Chooses views. make_prompt: the model's ImagePrompt for a preprocessor; max_tokens: what
    any image may take of a prompt, as the operator says."""

    def __init__(
        self,
        preprocessor: ImagePreprocessor,
        make_prompt: Callable[[ImagePreprocessor], ImagePrompt],
        max_tokens: int | None = None,
    ) -> None:
        self.default = ImageView(preprocessor, make_prompt(preprocessor))
        self._make_prompt = make_prompt
        self._max_tokens = max_tokens
        self._view = lru_cache(_KEPT_VIEWS)(self._make_view)

    def choose(
        self, images: Sequence[ImageInput], max_tokens: int | None = None
    ) -> list[ViewedImage]:
        """A view for each image of one prompt. max_tokens: a limit of the request's own.

        Raises RequestError for an image that no view brings within the limit.
        """
        limits = [limit for limit in (self._max_tokens, max_tokens) if limit is not None]
        limit = min(limits, default=None)
        return [self._choose(image, len(images), limit) for image in images]

    def _choose(self, image: ImageInput, num_images: int, limit: int | None) -> ViewedImage:
        wanted = limit
        if image.detail == "low":
            wanted = LOW_DETAIL_TOKENS if limit is None else min(limit, LOW_DETAIL_TOKENS)
        view, suffix = self._view(num_images, None)
        token_ids = view.expand(image)
        if wanted is not None and len(token_ids) > wanted:
            view, suffix = self._view(num_images, wanted)
            token_ids = view.expand(image)
        if limit is not None and len(token_ids) > limit:
            raise RequestError(
                f"{image.param}: the image takes {len(token_ids)} tokens, and the model can't show "
                f"it in max_image_tokens, {limit}",
                image.param,
            )
        return ViewedImage(image, view, image.media_key + suffix, token_ids)

    def _make_view(self, num_images: int, limit: int | None) -> tuple[ImageView, str]:
        """A view, and what it adds to media keys."""
        preprocessor = self.default.preprocessor.among(num_images)
        if limit is not None:
            preprocessor = preprocessor.limited(limit)
        if preprocessor is self.default.preprocessor:
            return self.default, ""
        view = ImageView(preprocessor, self._make_prompt(preprocessor))
        return view, f":{preprocessor.fingerprint()[:16]}"
