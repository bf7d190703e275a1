"""Whether answers can be kept to a form that a request asks for."""

from __future__ import annotations

from functools import lru_cache

from ..contracts.grammars import GrammarBackend, GrammarError, GrammarSource
from ..contracts.specs import GrammarSpec, load_object
from ..protocol.constraints.structured_outputs import StructuredOutputsParams
from ..protocol.request_error import RequestError
from .token_bytes import TokenBytes
from .vocabulary import obstacle

#: Forms that are known to be good; each may have 128 KiB.
_REMEMBERED = 64


class GrammarCheck:
    """By the backend that compiles it in the engine, without the model's vocabulary."""

    def __init__(self, spec: GrammarSpec, token_bytes: TokenBytes) -> None:
        self._spec = spec
        self._token_bytes = token_bytes
        self._check = lru_cache(_REMEMBERED)(self._compile)

    @property
    def obstacle(self) -> str | None:
        """Why none can be, if so."""
        return obstacle(self._token_bytes)

    def check(self, form: StructuredOutputsParams) -> None:
        """Raises RequestError. It may take a good part of a second: not for an event loop."""
        if self.obstacle is not None:
            raise RequestError(f"structured_outputs: {self.obstacle}", "structured_outputs")
        try:
            self._check(form.source)
        except GrammarError as error:
            raise RequestError(f"{form.param}: {error}", form.param) from error

    def _compile(self, source: GrammarSource) -> None:
        backend: type[GrammarBackend] = load_object(self._spec.load)
        backend.check(source)
