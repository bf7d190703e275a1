"""Octavo serves vision-language models: images and text in, text out."""

from importlib import import_module
from typing import Any

from .core.system.garbage import paused_collections
from .core.system.openmp import limit_spinning

__version__ = "0.1.0"
__all__ = [
    "LLM",
    "AsyncLLM",
    "BeamSearchParams",
    "Captioner",
    "EmbeddingModel",
    "RequestError",
    "SamplingParams",
    "StructuredOutputsParams",
    "__version__",
    "caption",
]

# Imported on first use, so that `octavo --version` need not load torch.
_LAZY = {
    "AsyncLLM": ".app.offline.async_llm",
    "BeamSearchParams": ".core.protocol.sampling_params",
    "Captioner": ".app.captioning.captioner",
    "EmbeddingModel": ".app.offline.embedding_model",
    "LLM": ".app.offline.llm",
    "RequestError": ".core.protocol.request_error",
    "SamplingParams": ".core.protocol.sampling_params",
    "StructuredOutputsParams": ".core.protocol.constraints.structured_outputs",
    "caption": ".app.captioning.captioner",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    limit_spinning()
    with paused_collections():
        return getattr(import_module(_LAZY[name], __name__), name)
