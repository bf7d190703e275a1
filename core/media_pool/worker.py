"""What a worker process does: read one image after another."""

from __future__ import annotations

import logging
import sys
import time
from functools import lru_cache

import numpy as np

from ...kernels.resize.resize import load_passes
from ..checkpoints.find_checkpoint import find_checkpoint
from ..contracts.specs import ImagePreprocessor
from ..media.decode import decode_image
from ..media.headers.image_header import read_header
from ..models.model_choice import choose_model
from ..process.wire import Connection
from ..prompts.image_views import derive
from ..prompts.prompt_images import load_preprocessor
from ..protocol.media_error import MediaError
from ..protocol.shared_array import SharedArray
from ..registry.registry import get_registry
from ..system.log_context import about_requests
from .jobs import (
    Answer,
    Decoded,
    DecodeJob,
    Inspected,
    InspectJob,
    Job,
    Refused,
    WorkerSettings,
)
from .prepare_image import prepare_image

logger = logging.getLogger(__name__)

#: As many as the views that are kept elsewhere.
_KEPT_PREPROCESSORS = 64


class Worker:
    """Answers jobs; made once, before processes are forked that run it."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._preprocessor = _load_preprocessor(settings)
        self._derived = lru_cache(_KEPT_PREPROCESSORS)(self._derive)

    def run(self, connection: Connection[Job]) -> None:
        """Return when the other end is closed."""
        while (job := connection.receive()) is not None:
            with about_requests(job.request_id):
                answer = self.answer(job)
            connection.send(connection.encode(answer))

    def answer(self, job: Job) -> Answer:
        """Do one job; a picture that can't be read is an answer too."""
        try:
            return self._do(job)
        except MediaError as error:
            return Refused(str(error))
        except Exception as error:  # the next job may go well
            logger.exception("an image could not be read")
            return Refused(f"the image can't be read: {error}")

    def _do(self, job: Job) -> Answer:
        data = job.data.array.tobytes()
        limits, background = self._settings.limits, self._settings.background
        if isinstance(job, InspectJob):
            size = read_header(data, limits).size
            return Inspected(size.width, size.height)
        if isinstance(job, DecodeJob):
            started = time.monotonic()
            pixels = np.asarray(decode_image(data, limits, background))
            return Decoded(SharedArray(pixels), {"decode": time.monotonic() - started})
        preprocessor = self._derived(job.num_images, job.limit)
        return prepare_image(data, preprocessor, limits, background)

    def _derive(self, num_images: int, limit: int | None) -> ImagePreprocessor:
        assert self._preprocessor is not None
        return derive(self._preprocessor, num_images, limit)


def _load_preprocessor(settings: WorkerSettings) -> ImagePreprocessor | None:
    if settings.model is None:
        return None
    checkpoint, registry = find_checkpoint(settings.model, settings.mmproj), get_registry()
    spec = choose_model(checkpoint.config, registry, settings.model_impl)
    if spec.image_prompt is None:
        return None
    preprocessor = load_preprocessor(spec, checkpoint, registry)
    load_passes()  # once, as most preprocessors resize
    if "torch" in sys.modules:
        logger.info("the processes that read images hold torch, as %s needs it", spec.name)
    return preprocessor
