"""A request whose images are ready to be sent, once."""

from __future__ import annotations

import msgspec

from ..prompts.input_processor import with_payloads
from ..protocol.messages import EngineRequest, MediaPayload


class LoadedRequest:
    """request: without payloads, to be kept until its end, as these may be large.

    image_seconds: see EngineRequest.
    """

    def __init__(self, request: EngineRequest, payloads: dict[str, MediaPayload]) -> None:
        self.request = request
        self._payloads = payloads
        self.image_seconds = 0.0

    def take(self, request: EngineRequest) -> EngineRequest:
        """A request that shows the same images, such as a step of a beam search, as it is to be
        sent: with the payloads the first time, and from then on without."""
        payloads, self._payloads = self._payloads, {}
        timed = msgspec.structs.replace(request, image_seconds=self.image_seconds)
        return with_payloads(timed, payloads)
