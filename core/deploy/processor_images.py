"""Images of a model without a plugin, through the checkpoint's own processor."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from transformers import AutoProcessor

from ..contracts.specs import ImagePreprocessor, ImagePrompt, ImageSize, JsonDict, PreprocessedImage
from ..protocol.config import ConfigError

#: What get_image_features may want besides pixels, in the order in which layouts hold them.
EXTRAS = ("image_grid_thw", "image_sizes", "batch_num_images")
_KEPT_SIZES = 256
_LONGEST_REASON = 200
_PROBE = "octavoprobe"
#: For checkpoints that are not made for chat: images and texts in their order.
_PLAIN_TEMPLATE = (
    "{% for message in messages %}{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}{% if part.type == 'image' %}PLACEHOLDER"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}{% endfor %}"
)
#: A picture that is cut into tiles wherever tiles are cut.
_UNEVEN = (1600, 900)
_loader: Any = AutoProcessor


class ProcessorPreprocessor(ImagePreprocessor):
    """See `plugin.ImagePreprocessor`. Pixel values are the processor's own; the layout is,
    for each of EXTRAS, how many numbers it has and which.

    Raises ConfigError if there is no processor that takes images.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self.processor: Any = _loader.from_pretrained(folder)
        except (ImportError, OSError, ValueError) as error:
            raise ConfigError(f"{folder}: its processor can't be loaded: {error}") from error
        if not hasattr(self.processor, "image_processor"):
            raise ConfigError(f"{folder}: its processor takes no images")
        self.copies = 1
        self.inputs_for = lru_cache(_KEPT_SIZES)(self._inputs_for)

    def preprocess(self, image: Image.Image) -> PreprocessedImage:
        """An RGB image -> what the processor makes of it."""
        inputs = self._process(image)
        mask = inputs.get("pixel_attention_mask")
        if mask is not None and not bool(mask.all()):
            raise ValueError("its processor fills images up, which is not supported")
        layout: list[int] = []
        for name in EXTRAS:
            numbers = inputs[name].flatten().tolist() if name in inputs else []
            layout += [len(numbers), *map(int, numbers)]
        return PreprocessedImage(np.asarray(inputs["pixel_values"], np.float32), tuple(layout))

    def grid(self, size: ImageSize) -> tuple[int, int]:
        """From `image_grid_thw`, as its features are merged."""
        _, rows, columns = self.inputs_for(size)["image_grid_thw"].flatten().tolist()
        merge = self.processor.image_processor.merge_size
        return rows // merge, columns // merge

    def num_tokens(self, size: ImageSize) -> int:
        """As many as the processor writes for an image of this size."""
        feature = self.processor.tokenizer.convert_tokens_to_ids(self.processor.image_token)
        ids: list[int] = self.inputs_for(size)["input_ids"][0].tolist()
        return ids.count(feature) // self.copies

    def fingerprint(self) -> str:
        """A digest of the processor's settings."""
        settings = self.processor.image_processor.to_json_string()
        return sha256(f"{settings} {self.copies}".encode()).hexdigest()

    def among(self, num_images: int) -> ImagePreprocessor:
        """For a processor that treats an image differently among others, one that shows it two
        of each."""
        if num_images == 1:
            return self
        others = copy.copy(self)
        others.copies = 2
        others.inputs_for = lru_cache(_KEPT_SIZES)(others._inputs_for)
        size = ImageSize(*_UNEVEN)
        return self if others.num_tokens(size) == self.num_tokens(size) else others

    def written_for(self, size: ImageSize) -> str:
        """What the processor writes in place of a placeholder.

        Raises ConfigError if it doesn't say.
        """
        if not hasattr(self.processor, "replace_image_token"):
            raise ConfigError(f"{type(self.processor).__name__} doesn't say how it writes an image")
        pictures = [[Image.new("RGB", size)] * self.copies]
        options = dict(getattr(self.processor, "images_kwargs", None) or {})
        images = self.processor.image_processor(pictures, return_tensors="pt", **options)
        written: str = self.processor.replace_image_token(images, 0)
        return written

    def _inputs_for(self, size: ImageSize) -> Any:
        return self._process(Image.new("RGB", size))

    def _process(self, image: Image.Image) -> dict[str, Any]:
        copies = self.copies
        inputs = self.processor(
            images=[[image] * copies],
            text=[self.placeholder * copies],
            add_special_tokens=False,
        )
        # Some make them for training, and not as tensors.
        inputs.pop("labels", None)
        inputs = inputs.convert_to_tensors("pt")
        if copies == 1:
            return dict(inputs)
        first = {"input_ids": inputs["input_ids"]}
        for name in ("pixel_values", *EXTRAS):
            if name in inputs:
                # How many images there are is said once for all.
                parts = 1 if name == "batch_num_images" else copies
                first[name] = inputs[name].chunk(parts)[0]
        return first

    @property
    def placeholder(self) -> str:
        """What stands for an image in a rendered prompt."""
        text: str = self.processor.image_token
        return text


class ProcessorImagePrompt(ImagePrompt):
    """See `plugin.ImagePrompt`. What the processor writes in place of a placeholder is its
    special tokens, in which images are expanded, and text around them, which is part of the
    prompt before it is tokenised.

    Raises ConfigError for a processor that adds to a prompt elsewhere, or can't be asked.
    """

    def __init__(
        self,
        config: JsonDict,
        preprocessor: ProcessorPreprocessor,
        encode: Callable[[str], Sequence[int]],
    ) -> None:
        try:
            self._ask(config, preprocessor, encode)
        except ConfigError:
            raise
        except Exception as error:  # processors raise what they like, some all of their settings
            reason = (str(error).strip().splitlines() or [""])[-1][:_LONGEST_REASON]
            raise ConfigError(
                f"automatic deployment can't follow {type(preprocessor.processor).__name__}: "
                f"{type(error).__name__}: {reason}"
            ) from error

    def _ask(
        self,
        config: JsonDict,
        preprocessor: ProcessorPreprocessor,
        encode: Callable[[str], Sequence[int]],
    ) -> None:
        """Learn how the processor writes images."""
        self._preprocessor = preprocessor
        self._encode = encode
        processor = preprocessor.processor
        tokenizer: Any = processor.tokenizer
        special = "|".join(re.escape(token) for token in tokenizer.all_special_tokens)
        self._core = re.compile(f"(?s)({special}).*({special})")
        key = "image_token_id" if "image_token_id" in config else "image_token_index"
        self.feature_token_id: int = config[key]
        self.image_token_id: int = tokenizer.convert_tokens_to_ids(preprocessor.placeholder)
        self._before, core, self._after = self._written(ImageSize(64, 64))
        self._words_before, self._words_after = _around_words(preprocessor)
        placeholder = preprocessor.placeholder
        self.chat_template = _PLAIN_TEMPLATE.replace("PLACEHOLDER", placeholder)
        whole = preprocessor.inputs_for(ImageSize(64, 64))["input_ids"][0].tolist()
        ours = self.complete(placeholder * preprocessor.copies).replace(placeholder, core)
        if whole != list(encode(ours)):
            raise ConfigError(
                f"{type(processor).__name__} adds more to a prompt than its images, which "
                "automatic deployment can't follow"
            )

    def complete(self, text: str) -> str:
        """With the text around images, and around the words after the last."""
        placeholder = self._preprocessor.placeholder
        text = text.replace(placeholder, self._before + placeholder + self._after)
        if not self._words_before and not self._words_after:
            return text
        images, last, words = text.rpartition(placeholder)
        return images + last + self._words_before + words + self._words_after

    def expand(self, size: ImageSize) -> Sequence[int]:
        """The special tokens of an image of this size, and what is between them."""
        return self._encode(self._written(size)[1])

    def _written(self, size: ImageSize) -> tuple[str, str, str]:
        """What the processor writes for an image: text, from its first special token to its last,
        and text."""
        written = self._preprocessor.written_for(size)
        found = self._core.search(written)
        if found is None:
            return "", written, ""
        return written[: found.start()], found[0], written[found.end() :]


def _around_words(preprocessor: ProcessorPreprocessor) -> tuple[str, str]:
    """What a processor writes before and after the words that follow the last image."""
    processor, placeholder = preprocessor.processor, preprocessor.placeholder
    if not hasattr(processor, "prepare_inputs_layout"):
        return "", ""
    picture = Image.new("RGB", (64, 64))
    laid = processor.prepare_inputs_layout(images=[[picture]], text=[placeholder + _PROBE])[1][0]
    before, _, after = laid.removeprefix(placeholder).partition(_PROBE)
    return before, after
