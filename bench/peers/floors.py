"""Floors by arithmetic: what the work must take at the machine's rates, were nothing lost.

Only linear layers are counted. A prompt's tokens, and images, take their operations at the rate of
matrix products; a decoding step reads all weights of the language model once, or takes its
operations if that is longer. A repeated prefix or image is computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from .results import MachineLimits, Metrics
from .workloads import Call, Workload, prompt_tokens, to_metrics

#: Four bits, and a scale of 16 for each group of 64.
_BITS = {"bf16": 16.0, "int8": 8.0, "int4": 4.25}


@dataclass(frozen=True)
class ModelShape:
    """Weights of the linear layers. layer_weights: of all decoder layers; head_weights: of the
    output layer; tower_weights: those times the tokens that each sees, for one image."""

    layer_weights: int
    head_weights: int
    tower_weights: int = 0


@dataclass(frozen=True)
class Rates:
    """matrix: operations a second; weight_bytes: of the language model in its precision; read:
    bytes a second."""

    matrix: float
    weight_bytes: float
    read: float


def read_shape(folder: Path) -> ModelShape:
    """Of a Llama, or of one with an Idefics3 or LLaVA tower. Raises OSError if there is none."""
    config = AutoConfig.from_pretrained(folder)
    text = config.get_text_config()
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    queries = text.num_attention_heads * head_dim
    keys = text.num_key_value_heads * head_dim
    attention = text.hidden_size * (2 * queries + 2 * keys)
    layer = attention + 3 * text.hidden_size * text.intermediate_size
    tower = _tower_weights(config) if hasattr(config, "vision_config") else 0
    return ModelShape(text.num_hidden_layers * layer, text.hidden_size * text.vocab_size, tower)


def _tower_weights(config: Any) -> int:
    vision, text = config.vision_config, config.get_text_config()
    size = vision.hidden_size
    patches = (vision.image_size // vision.patch_size) ** 2
    layer = 4 * size * size + 2 * size * vision.intermediate_size
    embedding = 3 * vision.patch_size**2 * size
    if config.model_type == "idefics3":
        factor = config.scale_factor**2
        projector = patches // factor * size * factor * text.hidden_size
        num_layers = vision.num_hidden_layers
    else:
        projector = patches * (size * text.hidden_size + text.hidden_size**2)
        # Layers past the one whose output is taken need not be computed; -1 is the last.
        num_layers = vision.num_hidden_layers + 1 + config.vision_feature_layer
    weights: int = patches * (num_layers * layer + embedding) + projector
    return weights


def make_rates(shape: ModelShape, limits: MachineLimits, precision: str) -> Rates:
    """For a model in a precision."""
    weights = shape.layer_weights + shape.head_weights
    return Rates(
        matrix=limits.matrix_flops,
        weight_bytes=weights * _BITS[precision] / 8,
        read=limits.read_bytes_s,
    )


def floor_metrics(
    workload: Workload,
    calls: Sequence[Call],
    image_prompt_tokens: int,
    shape: ModelShape,
    rates: Rates,
) -> Metrics:
    """The metrics of a work that takes no longer than its floor. calls: those of its "whole"
    kind, of which the mean is taken; image_prompt_tokens: of a prompt with its image."""
    if workload.distinct_images:
        tokens = float(workload.distinct_images * image_prompt_tokens)
    else:
        tokens = sum(prompt_tokens([call]) for call in calls) / len(calls)
    images = 2 * workload.distinct_images * shape.tower_weights / rates.matrix
    first = images + _prefill(tokens, workload.num_requests, shape, rates)
    steps = (workload.output_tokens - 1) * _step(workload.num_requests, shape, rates)
    seconds = {"whole": first + steps}
    if workload.num_requests == 1 and workload.output_tokens > 1:
        seconds["first"] = first
    return to_metrics(workload, seconds)


def _prefill(tokens: float, num_sampled: int, shape: ModelShape, rates: Rates) -> float:
    operations = 2 * (tokens * shape.layer_weights + num_sampled * shape.head_weights)
    return max(operations / rates.matrix, rates.weight_bytes / rates.read)


def _step(batch: int, shape: ModelShape, rates: Rates) -> float:
    operations = 2 * batch * (shape.layer_weights + shape.head_weights)
    return max(operations / rates.matrix, rates.weight_bytes / rates.read)
