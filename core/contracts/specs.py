"""What plugins declare: specs that name their code by string, so that listing imports no torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...kernels.spec import KernelSpec
from ..system.garbage import paused_collections

#: Raised by one whenever a spec or a protocol changes so that older plugins would break. Every
#: spec of a plugin names the number that it is written for.
CONTRACT_VERSION = 2

JsonDict = Mapping[str, Any]


class ImageSize(NamedTuple):
    """Width and height in pixels, in Pillow's order, after EXIF rotation."""

    width: int
    height: int


@dataclass(frozen=True)
class ModelSpec:
    """A model architecture.

    name: unique among models, shown in listings.
    architectures: the names in `config.json` that it serves.
    model_types: the `model_type`s under which another model may nest it as its text model.
    load: "module:Class" of a LanguageModel (see `core.contracts.interfaces`).
    image_prompt: "module:Class" of an ImagePrompt, or None for a text-only model.
    preprocessor: "module:Class" of an ImagePreprocessor that prepares images as this model wants
        them, such as cut into tiles, in place of the encoder's own; constructed as
        Class(config, processor_config).
    image_attention: "causal"; "bidirectional" if the tokens of one image see each other; "prefix"
        if those of the whole prompt do. What sees itself is computed in one step.
    positions: "1d", or "mrope" for rotary positions in time, height and width; the preprocessor
        then gives each image's grid.
    """

    name: str
    architectures: tuple[str, ...]
    load: str
    model_types: tuple[str, ...] = ()
    image_prompt: str | None = None
    preprocessor: str | None = None
    image_attention: Literal["causal", "bidirectional", "prefix"] = "causal"
    positions: Literal["1d", "mrope"] = "1d"
    contract_version: int | None = None


@dataclass(frozen=True)
class EncoderExample:
    """A `vision_config`, and the image part of a processor's settings, of a tiny tower."""

    vision_config: JsonDict
    processor_config: JsonDict


@dataclass(frozen=True)
class EncoderSpec:
    """A vision encoder.

    name: unique among encoders, shown in listings.
    model_types: the `model_type`s of a `vision_config` that it serves.
    load: "module:Class" of a VisionEncoder (see `core.contracts.interfaces`).
    preprocessor: "module:Class" of an ImagePreprocessor.
    example: a tower small enough to be built and run in a moment, by `octavo plugins check`.
    reference: "module:function" that takes a tower and one image's pixel values, and gives the
        features that another implementation computes with the tower's weights.
    """

    name: str
    model_types: tuple[str, ...]
    load: str
    preprocessor: str
    example: EncoderExample | None = None
    reference: str | None = None
    contract_version: int | None = None


class StoredTensor(NamedTuple):
    """A tensor of a checkpoint before it is read. dtype: as safetensors names it, such as "BF16".
    nbytes: of its numbers in that."""

    dtype: str
    shape: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True)
class QuantSpec:
    """A quantisation method.

    name: as in `quantization_config.quant_method` of checkpoints, and for --quantization.
    load: "module:Class" of a QuantMethod (see `core.contracts.interfaces`).
    held: "module:function", without torch, for a method that holds what a checkpoint stores in
        other sizes than its files do, such as dequantised: function(settings, tensors, float_bytes)
        gives the bytes that those tensors take once they are loaded, by their names. settings: the
        checkpoint's `quantization_config`. tensors: each StoredTensor by its name. float_bytes: of
        a plain weight's number.
    """

    name: str
    load: str
    contract_version: int | None = None
    held: str | None = None


@dataclass(frozen=True)
class LogitsProcessorSpec:
    """A way to change logits that a request may ask for by name.

    name: unique among logits processors; a key of SamplingParams.logits_processors.
    load: "module:Class" of a LogitsProcessor (see `core.contracts.interfaces`).
    """

    name: str
    load: str
    contract_version: int | None = None


@dataclass(frozen=True)
class CallForm:
    """How models write a call whose arguments are a JSON object, where they do it in one way: by
    it, arguments can be kept to their schema.

    trigger: what begins a call, and nothing else in an answer.
    begin: all before the arguments, the trigger first; `{name}` in it is the function's name.
    end: all after them.
    """

    trigger: str
    begin: str
    end: str


@dataclass(frozen=True)
class ResponseTemplateSpec:
    """How a family of models writes thoughts and calls of functions.

    name: unique among response templates; a value of --response-template.
    template: as transformers defines response templates, with the fields content,
        reasoning_content and tool_calls, of which any may be missing, and without anchors.
    marks: texts that the chat templates of such models have in them, all of them. Of several
        templates that fit a model, the one with the longest marks is taken.
    call_form: how the models write calls. Without it, functions that are to be called strictly
        are refused unless a call is forced.
    """

    name: str
    template: JsonDict
    marks: tuple[str, ...]
    contract_version: int | None = None
    call_form: CallForm | None = None


@dataclass(frozen=True)
class GrammarSpec:
    """A way to keep answers to a grammar.

    name: unique among grammar backends; a value of --structured-outputs-backend.
    load: "module:Class" of a GrammarBackend (see `core.contracts.grammars`), without torch.
    """

    name: str
    load: str
    contract_version: int | None = None


@dataclass(frozen=True)
class EncoderStoreSpec:
    """A store for outputs of image encoders.

    name: unique among stores, shown in listings.
    schemes: of the URLs that it opens, such as "redis" for redis://host.
    load: "module:Class" of an EncoderStore (see `octavo.plugin`).
    """

    name: str
    schemes: tuple[str, ...]
    load: str
    contract_version: int | None = None


@dataclass(frozen=True)
class PreprocessedImage:
    """Input of an encoder: pixel values of any shape, [channels, height, width] or, for several
    tiles, [tiles, channels, height, width].

    layout: further facts for the encoder, such as a grid or the size of the image, in its own
        form.
    """

    pixel_values: NDArray[np.float32]
    layout: tuple[int, ...] = ()


class ImagePreprocessor(Protocol):
    """The weightless half of an encoder, constructed as Class(vision_config, processor_config).
    processor_config: the image part of the checkpoint's processor settings."""

    def num_tokens(self, size: ImageSize) -> int:
        """Feature vectors that the encoder gives for an image of this size, or for one tile of
        it if the image is cut into several."""
        ...

    def preprocess(self, image: Image.Image) -> PreprocessedImage:
        """An RGB image, ready for the encoder."""
        ...

    def grid(self, size: ImageSize) -> tuple[int, int]:
        """Rows and columns of an image's features, for positions "mrope"."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """A digest that changes whenever the same image would give other pixel values."""
        ...

    def limited(self, max_tokens: int) -> ImagePreprocessor:
        """One that shrinks images, or cuts them into fewer tiles, until they take at most so many
        tokens of the prompt, as far as the model leaves a choice; itself where it leaves none."""
        return self

    def among(self, num_images: int) -> ImagePreprocessor:
        """The one for an image of a prompt with so many; itself unless the model prepares an
        image differently among others."""
        return self


class ImagePrompt(Protocol):
    """Prompt tokens of an image, in a model's way, constructed as
    Class(config, preprocessor, encode), where encode turns text into token ids. Subclasses
    inherit what most models have in common."""

    #: The id that stands for an image in a rendered prompt.
    image_token_id: int
    #: The id that stands for a feature in an expanded one; often the same.
    feature_token_id: int
    #: The chat template of checkpoints that bring none.
    chat_template: str | None = None

    def complete(self, text: str) -> str:
        """A rendered prompt, one placeholder for each image, as it is to be tokenised."""
        return text

    def expand(self, size: ImageSize) -> Sequence[int]:
        """The tokens of an image of this size: one feature token for each of its features, in
        order, and what the model wants between them. Raises ValueError for a size that the model
        can't take."""
        ...


class RepeatedPlaceholder(ImagePrompt):
    """The prompt of most models: one token for each feature, and the same for an image in a
    rendered prompt, named by `image_token_id` or `image_token_index` in the config."""

    def __init__(
        self,
        config: JsonDict,
        preprocessor: ImagePreprocessor,
        encode: Callable[[str], Sequence[int]],
    ) -> None:
        key = "image_token_id" if "image_token_id" in config else "image_token_index"
        self.image_token_id: int = config[key]
        self.feature_token_id = self.image_token_id
        self.preprocessor = preprocessor

    def expand(self, size: ImageSize) -> Sequence[int]:
        """Feature tokens, as many as the preprocessor says."""
        return [self.feature_token_id] * self.preprocessor.num_tokens(size)


@paused_collections()
def load_object(path: str) -> Any:
    """Import "module:attribute". Raises ImportError or AttributeError as the import does."""
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)


__all__ = [
    "CONTRACT_VERSION",
    "EncoderExample",
    "EncoderSpec",
    "EncoderStoreSpec",
    "GrammarSpec",
    "ImagePreprocessor",
    "ImagePrompt",
    "ImageSize",
    "JsonDict",
    "KernelSpec",
    "LogitsProcessorSpec",
    "ModelSpec",
    "PreprocessedImage",
    "QuantSpec",
    "RepeatedPlaceholder",
    "ResponseTemplateSpec",
    "StoredTensor",
    "load_object",
]
