"""What a plugin's torch code implements and is given."""

from ..core.contracts.interfaces import (
    BuildContext,
    FinishingQuantMethod,
    KVCacheSpec,
    KVLayer,
    LanguageModel,
    LogitsProcessor,
    MultiModalModel,
    OutputHeadModel,
    Preparable,
    QuantMethod,
    ReadingQuantMethod,
    StoredQuantMethod,
    StoredTableModel,
    VisionEncoder,
    WeightPlace,
)
from ..kernels.dispatch import KernelTable
from ..kernels.ops import AttentionMetadata, QuantizedWeight
from ..kernels.weights import EncoderShape

__all__ = [
    "AttentionMetadata",
    "BuildContext",
    "EncoderShape",
    "FinishingQuantMethod",
    "KVCacheSpec",
    "KVLayer",
    "KernelTable",
    "LanguageModel",
    "LogitsProcessor",
    "MultiModalModel",
    "OutputHeadModel",
    "Preparable",
    "QuantMethod",
    "QuantizedWeight",
    "ReadingQuantMethod",
    "StoredQuantMethod",
    "StoredTableModel",
    "VisionEncoder",
    "WeightPlace",
]
