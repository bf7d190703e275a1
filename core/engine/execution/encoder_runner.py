"""Runs the vision encoder for the images of a step and keeps their features."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from ...contracts.interfaces import LanguageModel, MultiModalModel
from ...protocol.messages import MediaInput, PixelInput
from ...protocol.scheduler_output import EncodeError
from .feature_arrays import to_tensor

logger = logging.getLogger(__name__)

#: Pixel values that are encoded at once: some ten pictures of 512 pixels a side. More would take
#: memory, and be no faster.
_BYTES_TOGETHER = 32 << 20


class EncoderRunner:
    """Holds the tensors that the EncoderCacheManager accounts for.

    one_by_one: never encode two images together, so that neither's rounding depends on that. It
    comes to that too once a model fails on several, but on none of them alone.
    """

    def __init__(
        self, model: LanguageModel, device: torch.device, dtype: torch.dtype, one_by_one: bool
    ) -> None:
        self._model = model
        self._device = device
        self._dtype = dtype
        self._one_by_one = one_by_one
        self._features: dict[str, Tensor] = {}

    def features(self, media_key: str) -> Tensor:
        """[num_tokens, hidden_size] of an image that has been encoded."""
        return self._features[media_key]

    def drop(self, media_keys: Iterable[str]) -> None:
        """Forget features that were evicted."""
        for key in media_keys:
            self._features.pop(key, None)

    def encode(self, media: Sequence[MediaInput]) -> None:
        """Encode images, or take their features as they came, and keep them. Raises EncodeError,
        which names those that can't be."""
        try:
            self._features.update(self.compute(media))
        except Exception as error:  # towers may be plugins
            if len(media) == 1:
                raise EncodeError(str(error), {media[0].media_key}) from error
            self._features.update(self._compute_each(media))
            self._one_by_one = True
            logger.exception(
                "%d images can't be encoded at once, while each alone can; "
                "from now on they are encoded one by one",
                len(media),
            )

    def _compute_each(self, media: Sequence[MediaInput]) -> dict[str, Tensor]:
        computed: dict[str, Tensor] = {}
        failed: dict[str, Exception] = {}
        for item in media:
            try:
                computed |= self.compute([item])
            except Exception as error:
                logger.exception("the image %s can't be encoded", item.media_key)
                failed[item.media_key] = error
        if failed:
            first = next(iter(failed.values()))
            raise EncodeError(str(first), set(failed)) from first
        return computed

    def compute(self, media: Sequence[MediaInput]) -> dict[str, Tensor]:
        """The features of images by media key, many encoded at once.

        Raises ValueError if the encoder gives another number of features than the prompt has
        placeholders.
        """
        computed: dict[str, Tensor] = {}
        images: list[tuple[MediaInput, PixelInput]] = []
        for item in media:
            if isinstance(item.payload, PixelInput):
                images.append((item, item.payload))
            elif item.payload is not None:
                features = to_tensor(item.payload).to(self._device, self._dtype)
                computed[item.media_key] = _checked(features, item)
        for group in self._groups(images):
            computed |= self._encode_group(group)
        return computed

    def _groups(
        self, images: Sequence[tuple[MediaInput, PixelInput]]
    ) -> Iterator[Sequence[tuple[MediaInput, PixelInput]]]:
        """Those that are encoded together."""
        group: list[tuple[MediaInput, PixelInput]] = []
        size = 0
        for item, payload in images:
            num_bytes = payload.pixels.array.nbytes
            if group and (self._one_by_one or size + num_bytes > _BYTES_TOGETHER):
                yield group
                group, size = [], 0
            group.append((item, payload))
            size += num_bytes
        if group:
            yield group

    def _encode_group(self, group: Sequence[tuple[MediaInput, PixelInput]]) -> dict[str, Tensor]:
        if not isinstance(self._model, MultiModalModel):
            raise ValueError("the model takes no images")
        pixels = [
            torch.tensor(payload.pixels.array).to(self._device, self._dtype) for _, payload in group
        ]
        encoded = self._model.encode_images(pixels, [payload.layout for _, payload in group])
        # A copy, so that evicting one image frees its bytes and not its group's.
        return {
            item.media_key: _checked(features, item).clone()
            for (item, _), features in zip(group, encoded, strict=True)
        }


def _checked(features: Tensor, item: MediaInput) -> Tensor:
    if features.shape[0] != item.num_features:
        raise ValueError(
            f"the encoder gave {features.shape[0]} features for an image that takes "
            f"{item.num_features} tokens of the prompt"
        )
    return features
