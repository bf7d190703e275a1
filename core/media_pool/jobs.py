"""What travels between the pool and its workers."""

from __future__ import annotations

import msgspec

from ..protocol.media_limits import MediaLimits
from ..protocol.messages import PixelInput
from ..protocol.shared_array import SharedArray


class WorkerSettings(msgspec.Struct, frozen=True):
    """What workers are made with.

    model, model_impl: whose preprocessor they run; None for workers that only decode. mmproj: see
        EngineConfig.
    background: what shows through transparent images.
    """

    model: str | None
    model_impl: str
    limits: MediaLimits
    background: tuple[int, int, int]
    mmproj: str | None = None


class InspectJob(msgspec.Struct, frozen=True, tag=True):
    """Read the header of a file. request_id: of the request that it is for, for the log."""

    data: SharedArray
    request_id: str = ""


class PrepareJob(msgspec.Struct, frozen=True, tag=True):
    """Decode a file and preprocess the picture. num_images, limit: see `image_views.derive`.
    request_id: see InspectJob."""

    data: SharedArray
    num_images: int
    limit: int | None
    request_id: str = ""


class DecodeJob(msgspec.Struct, frozen=True, tag=True):
    """Decode a file. request_id: see InspectJob."""

    data: SharedArray
    request_id: str = ""


class WorkerReady(msgspec.Struct, frozen=True, tag=True):
    """A worker has been forked: the first message that its owner gets."""

    pid: int


class Inspected(msgspec.Struct, frozen=True, tag=True):
    """The size of an upright picture, in pixels."""

    width: int
    height: int


class Prepared(msgspec.Struct, frozen=True, tag=True):
    """A preprocessed picture. seconds: by stage."""

    payload: PixelInput
    seconds: dict[str, float]


class Decoded(msgspec.Struct, frozen=True, tag=True):
    """An upright RGB picture: uint8 [height, width, 3]. seconds: by stage."""

    pixels: SharedArray
    seconds: dict[str, float]


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The image can't be used."""

    message: str


Job = InspectJob | PrepareJob | DecodeJob
Answer = WorkerReady | Inspected | Prepared | Decoded | Refused
