"""What travels between a server and the process that runs its embedder."""

from __future__ import annotations

import msgspec

from ..protocol.runtime_facts import RuntimeFacts
from ..protocol.shared_array import SharedArray


class EmbedderSettings(msgspec.Struct, frozen=True):
    """What is loaded, and how; see `load_embedder`."""

    model: str
    device: str
    dtype: str


class EmbedderReady(msgspec.Struct, frozen=True, tag=True):
    """The model is loaded. Its fields: see Embedder, and EngineFacts for `runtime`."""

    dimension: int
    max_text_bytes: int
    fingerprint: str
    digest: str
    runtime: RuntimeFacts = RuntimeFacts()


class EmbedTexts(msgspec.Struct, frozen=True, tag=True):
    """A batch of texts. request_ids: of the requests that they are for, for the log."""

    texts: list[str]
    request_ids: list[str]


class EmbedImages(msgspec.Struct, frozen=True, tag=True):
    """A batch of upright RGB pictures: uint8 [height, width, 3]. request_ids: see EmbedTexts."""

    pictures: list[SharedArray]
    request_ids: list[str]


class Embedding(msgspec.Struct, frozen=True):
    """Of one item. vector: float32 [dimension], of length 1; None if it failed, and `failure`
    says why. num_tokens: that the model saw of a text."""

    vector: SharedArray | None
    num_tokens: int = 0
    failure: str = ""


class Embedded(msgspec.Struct, frozen=True, tag=True):
    """The answer to a batch, in its order. seconds: that it took."""

    embeddings: list[Embedding]
    seconds: float


ToEmbedder = EmbedTexts | EmbedImages
