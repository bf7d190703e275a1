"""One model with each method, beside itself in bfloat16."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

from ...core.checkpoints.find_checkpoint import find_checkpoint
from ...core.contracts.specs import ModelSpec
from ...core.deploy.transformers_spec import TransformersSpec
from ...core.engine.execution.in_process_executor import InProcessExecutor
from ...core.models.model_choice import choose_model
from ...core.prompts.tokenizer import Tokenizer
from ...core.protocol.config import ConfigError, EngineConfig
from ...core.quantization.quantizer import quantization_name
from ...core.registry.registry import Registry
from ..accuracy import all_questions, ask
from ..offline import OfflineEngine
from .beside import beside_configs
from .decode_speed import DecodeSpeed, measure_decode
from .score import score_text
from .text import WINDOW, cut_windows, read_novel
from .weights import bytes_read, num_weights

#: What the others are held against: the weights as they are.
BASE = "bfloat16"


@dataclass(frozen=True)
class MethodRow:
    """A model with one method. See docs/benchmarks.md; word_accuracy: None if it takes no
    images."""

    method: str
    bits_per_weight: float
    bytes_per_token: int
    perplexity: float
    kl_divergence: float
    top1_agreement: float
    word_accuracy: float | None
    decode_tokens_per_s: float
    decode_ratio: float
    decode_ratios: list[float]


@dataclass(frozen=True)
class ModelTable:
    """num_tokens: of the text, in windows of `window` tokens; num_weights: that a token reads."""

    model: str
    num_weights: int
    num_tokens: int
    window: int
    rows: list[MethodRow]


def compare_methods(
    label: str,
    config: EngineConfig,
    methods: Sequence[str],
    registry: Registry,
    num_tokens: int | None,
    num_questions: int | None,
    beside: Sequence[str] = (),
) -> ModelTable:
    """config: of the base. methods: the base first. beside: quantised checkpoints of the model. All
    of them are in memory at once.

    Raises ConfigError or UnsupportedModelError if the model can't be loaded, has no perplexity, or
    a plugin doesn't serve it.
    """
    checkpoint = find_checkpoint(config.model, config.mmproj)
    spec = choose_model(checkpoint.config, registry, config.model_impl)
    _check_spec(label, spec)
    stored = quantization_name(checkpoint.kept_packed, None)
    if stored is not None:
        raise ConfigError(f"{label} is quantised with {stored}; --methods takes plain checkpoints")
    contenders = {m: replace(config, quantization=None if m == BASE else m) for m in methods}
    contenders |= beside_configs(checkpoint, config, beside, contenders)
    takes_images = spec.image_prompt is not None
    # Before all are in memory, as each is loaded for it.
    words = {
        method: _word_accuracy(own, num_questions) if takes_images else None
        for method, own in contenders.items()
    }
    folders = {config.model: checkpoint, **{path: find_checkpoint(path) for path in beside}}
    executors = {
        method: InProcessExecutor(own, folders[own.model], registry)
        for method, own in contenders.items()
    }
    window = min(WINDOW, executors[BASE].facts.max_model_len)
    windows = cut_windows(read_novel(), Tokenizer(checkpoint), window, num_tokens)
    scores, speeds = score_text(executors, windows), _decode_speeds(contenders, executors)
    weights = num_weights(spec, checkpoint, registry)
    rows = []
    for method, executor in executors.items():
        score, speed, num_bytes = scores[method], speeds[method], bytes_read(executor.model)
        if not math.isfinite(score.surprise + score.divergence):
            raise ConfigError(f"{label}: {method} gives logits that are no finite numbers")
        row = MethodRow(
            method=method,
            bits_per_weight=8 * num_bytes / weights,
            bytes_per_token=num_bytes,
            perplexity=score.perplexity,
            kl_divergence=score.kl_divergence,
            top1_agreement=score.top1_agreement,
            word_accuracy=words[method],
            decode_tokens_per_s=speed.tokens_per_s,
            decode_ratio=speed.ratio,
            decode_ratios=speed.ratios,
        )
        rows.append(row)
    return ModelTable(label, weights, windows.num_tokens, window, rows)


def _check_spec(label: str, spec: ModelSpec) -> None:
    if isinstance(spec, TransformersSpec):
        raise ConfigError(
            f"{label} is deployed from transformers; --methods takes models that a plugin serves"
        )
    if spec.image_attention == "prefix":
        raise ConfigError(
            f"{label}: the tokens of a prompt see those that follow, so that it has no perplexity"
        )


def _word_accuracy(config: EngineConfig, num_questions: int | None) -> float:
    _, right = ask(config, all_questions()[:num_questions])
    return sum(right) / len(right)


def _decode_speeds(
    configs: Mapping[str, EngineConfig], executors: Mapping[str, InProcessExecutor]
) -> dict[str, DecodeSpeed]:
    with ExitStack() as stack:
        engines = {}
        for method, executor in executors.items():
            engine = OfflineEngine(configs[method], image_size=1, seed=0, executor=executor)
            engines[method] = stack.enter_context(closing(engine))
        return measure_decode(engines)
