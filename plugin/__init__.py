"""What packages that extend Octavo import; it stays in its place while the code behind it moves.

Here is what a plugin declares, which imports no torch; what its code is made of is in
`interfaces`, `layers`, `images` and `stores`.
"""

from ..core.contracts.grammars import (
    BatchMask,
    Grammar,
    GrammarBackend,
    GrammarError,
    GrammarMatcher,
    GrammarSource,
)
from ..core.contracts.specs import (
    CONTRACT_VERSION,
    CallForm,
    EncoderExample,
    EncoderSpec,
    EncoderStoreSpec,
    GrammarSpec,
    ImagePreprocessor,
    ImagePrompt,
    ImageSize,
    JsonDict,
    KernelSpec,
    LogitsProcessorSpec,
    ModelSpec,
    PreprocessedImage,
    QuantSpec,
    RepeatedPlaceholder,
    ResponseTemplateSpec,
)
from ..core.protocol.messages import EngineRequest
from ..core.protocol.outputs import RequestOutput
from ..core.registry.hookspecs import hookimpl

__all__ = [
    "CONTRACT_VERSION",
    "BatchMask",
    "CallForm",
    "EncoderExample",
    "EncoderSpec",
    "EncoderStoreSpec",
    "EngineRequest",
    "Grammar",
    "GrammarBackend",
    "GrammarError",
    "GrammarMatcher",
    "GrammarSource",
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
    "RequestOutput",
    "ResponseTemplateSpec",
    "hookimpl",
]
