"""The pluggy hooks. A plugin implements those it needs; none of them may import torch."""

from __future__ import annotations

from collections.abc import Callable

import pluggy

from ..contracts.specs import (
    EncoderSpec,
    EncoderStoreSpec,
    GrammarSpec,
    KernelSpec,
    LogitsProcessorSpec,
    ModelSpec,
    QuantSpec,
    ResponseTemplateSpec,
)
from ..protocol.messages import EngineRequest
from ..protocol.outputs import RequestOutput

PROJECT_NAME = "octavo"

hookspec = pluggy.HookspecMarker(PROJECT_NAME)
hookimpl = pluggy.HookimplMarker(PROJECT_NAME)


@hookspec
def octavo_register_models(register: Callable[[ModelSpec], None]) -> None:
    """Call `register` with each model architecture."""


@hookspec
def octavo_register_encoders(register: Callable[[EncoderSpec], None]) -> None:
    """Call `register` with each vision encoder."""


@hookspec
def octavo_register_quant(register: Callable[[QuantSpec], None]) -> None:
    """Call `register` with each quantisation method."""


@hookspec
def octavo_register_kernels(register: Callable[[KernelSpec], None]) -> None:
    """Call `register` with each kernel implementation."""


@hookspec
def octavo_register_logits_processors(
    register: Callable[[LogitsProcessorSpec], None],
) -> None:
    """Call `register` with each logits processor."""


@hookspec
def octavo_register_response_templates(
    register: Callable[[ResponseTemplateSpec], None],
) -> None:
    """Call `register` with each response template."""


@hookspec
def octavo_register_grammars(register: Callable[[GrammarSpec], None]) -> None:
    """Call `register` with each grammar backend."""


@hookspec
def octavo_register_encoder_stores(register: Callable[[EncoderStoreSpec], None]) -> None:
    """Call `register` with each store for outputs of image encoders."""


@hookspec
def octavo_request_received(request: EngineRequest) -> None:
    """A request is about to be handed to the engine. Called where requests arrive: in the
    server's process, between others; keep it short."""


@hookspec
def octavo_request_finished(request: EngineRequest, output: RequestOutput) -> None:
    """A request has ended, for whatever reason; the output says how far it came."""
