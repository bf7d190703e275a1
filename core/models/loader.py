"""Building of a model on the meta device, and loading of its weights."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...kernels.dispatch import KernelTable, resolve_kernels
from ...kernels.dtypes import dtype_name
from ...kernels.kv_format import is_quantized
from ...kernels.spec import KernelError
from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.find_checkpoint import find_checkpoint
from ..checkpoints.hf_config import complete_config
from ..contracts.interfaces import (
    OUTPUT_HEAD,
    BuildContext,
    LanguageModel,
    Preparable,
    VisionEncoder,
)
from ..contracts.specs import JsonDict, ModelSpec, load_object
from ..deploy.deployment import Deployment
from ..deploy.transformers_spec import TransformersSpec
from ..layers.prepared_linear import prepared_linear
from ..layers.quantized_linear import use_dequant_kernel
from ..protocol.config import ConfigError, EngineConfig
from ..protocol.runtime_facts import WeightGroup
from ..quantization.quantizer import Quantizer, quantization_name
from ..quantization.weight_groups import describe_group
from ..registry.registry import Registry, UnsupportedModelError, get_registry
from ..system.mapped_pages import unmap_read_pages
from ..system.memory import return_freed_memory
from .load_progress import weights_with_progress
from .meta_device import meta_device
from .model_choice import choose_model

logger = logging.getLogger(__name__)

_USUAL_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class LoadedModel:
    """A checkpoint's model, ready to run.

    weight_bytes: of all of its weights, as they are packed. quantization: the checkpoint's own
    method, or what was asked for; None for neither. weights: of a quantised one, what its layers
    were stored as before they were packed.
    """

    model: LanguageModel
    weight_bytes: int
    quantization: str | None
    weights: list[WeightGroup]


def load_model(
    spec: ModelSpec,
    checkpoint: Checkpoint,
    registry: Registry,
    device: torch.device,
    dtype: torch.dtype,
    kernels: KernelTable,
    quantization: str | None = None,
) -> LoadedModel:
    """Load a checkpoint. quantization: see EngineConfig.

    Raises UnsupportedModelError if no plugin serves a part of it or its quantisation, and
    ConfigError if its weights and its config don't fit each other.
    """
    unmap_read_pages()  # by importing torch
    if isinstance(spec, TransformersSpec):
        deployment = Deployment(checkpoint, device, dtype, kernels)
        if quantization is not None:
            deployment.quantizer = Quantizer.choose(checkpoint, registry, quantization)
        quantizer = deployment.quantizer
        model: Any = load_object(spec.load)(deployment)
        groups = deployment.weights
    else:
        context = build_context(registry, device, dtype, kernels)
        # What is asked for is made of the dequantised weights.
        stored = checkpoint if quantization else checkpoint.kept_packed
        quantizer = Quantizer.choose(stored, registry, quantization)
        model, groups = _build(spec, stored, context, quantizer)
    return_freed_memory()
    unmap_read_pages(checkpoint.weight_paths())  # by packing
    for group in groups:
        logger.info("%s", describe_group(group))
    weight_bytes = sum(w.nbytes for w in (*model.parameters(), *model.buffers()))
    name = quantization_name(checkpoint, None) if quantizer is None else quantizer.name
    return LoadedModel(cast(LanguageModel, model), weight_bytes, name, groups)


def check_layers(config: EngineConfig) -> None:
    """Whether what is asked of quantisation fits a plugin's model, whose weights are not read.
    Raises ConfigError or UnsupportedModelError."""
    checkpoint, registry = find_checkpoint(config.model, config.mmproj), get_registry()
    spec = choose_model(checkpoint.config, registry, config.model_impl)
    quantizer = Quantizer.choose(checkpoint, registry, config.quantization)
    if quantizer is None or isinstance(spec, TransformersSpec):
        return
    device, dtype = torch.device("cpu"), torch.float32
    context = build_context(registry, device, dtype, choose_kernels(registry, device, dtype))
    quantizer.reserve(build_unfilled(spec, checkpoint, context))


def _build(
    spec: ModelSpec, checkpoint: Checkpoint, context: BuildContext, quantizer: Quantizer | None
) -> tuple[nn.Module, list[WeightGroup]]:
    """Model of a plugin, with weights, and what they are stored as if it is quantised."""
    groups: list[WeightGroup] = []
    model = build_unfilled(spec, checkpoint, context)
    if quantizer is not None:
        with meta_device():
            quantizer.reserve(model)
    as_stored = frozenset() if quantizer is None else quantizer.as_stored(model)
    weights: Iterable[tuple[str, Tensor]] = weights_with_progress(checkpoint)
    if quantizer is not None:
        weights = quantizer.read(weights)
    _fill(model, checkpoint.name, weights, context, as_stored)
    model.eval().requires_grad_(False)
    if quantizer is not None:
        quantizer.finish(model)
        quantizer.quantize_heads(model)
        unmap_read_pages(checkpoint.weight_paths())
        quantizer.quantize_layers(model, context.dtype)
        use_dequant_kernel(model, context.kernels.dequant_linear)
        groups = quantizer.groups(model)
    for part in [part for part in model.modules() if isinstance(part, Preparable)]:
        part.prepare()
    if quantizer is not None:
        # Where they are in no stack of layers, as those of projectors.
        layers = {n: m for n, m in model.named_modules() if n in quantizer.outside()}
        for name, layer in layers.items():
            model.set_submodule(name, prepared_linear(layer, context.kernels, context.dtype))
    return model, groups


def build_unfilled(spec: ModelSpec, checkpoint: Checkpoint, context: BuildContext) -> nn.Module:
    """A plugin's model before its weights come, on the meta device, with the shapes of a plain
    checkpoint. Raises as `load_model` does."""
    try:
        with meta_device():
            model: nn.Module = load_object(spec.load)(_config_of(checkpoint), context)
    except (KeyError, ValueError) as error:
        if isinstance(error, (ConfigError, UnsupportedModelError)):
            raise
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ConfigError(
            f"{checkpoint.name}: {spec.name} can't be built from its config: {reason}"
        ) from error
    return model


def _config_of(checkpoint: Checkpoint) -> JsonDict:
    """The config; a head that the checkpoint stores is not tied, whatever the config says, as
    some say nothing and their family's default is to tie."""
    config = dict(checkpoint.config)
    if any(name.endswith(f"{OUTPUT_HEAD}.weight") for name in checkpoint.weight_names()):
        config["tie_word_embeddings"] = False
        if "text_config" in config:
            config["text_config"] = {**config["text_config"], "tie_word_embeddings": False}
    return config


def choose_kernels(
    registry: Registry,
    device: torch.device,
    dtype: torch.dtype,
    kv_cache_dtype: torch.dtype | None = None,
) -> KernelTable:
    """Best kernel for each operation, of plugins and built-in; those on the KV cache must take its
    dtype. Raises ConfigError for an override in the environment that can't be followed."""
    quantized_kv = None
    if kv_cache_dtype is not None and is_quantized(kv_cache_dtype):
        quantized_kv = dtype_name(kv_cache_dtype)
    specs = tuple(registry.kernels.values())
    try:
        return resolve_kernels(specs, device.type, dtype_name(dtype), quantized_kv)
    except KernelError as error:
        raise ConfigError(str(error)) from error


def build_context(
    registry: Registry, device: torch.device, dtype: torch.dtype, kernels: KernelTable
) -> BuildContext:
    """Build context of models, whose nested parts the registry's plugins serve."""

    def language_model(config: JsonDict) -> LanguageModel:
        config = complete_config(config)
        load = registry.text_model_for_config(config).load
        return cast(LanguageModel, load_object(load)(config, context))

    def vision_encoder(config: JsonDict, feature_layers: Sequence[int]) -> VisionEncoder:
        config = complete_config(config)
        load = registry.encoder_for_config(config).load
        return cast(VisionEncoder, load_object(load)(config, feature_layers, context))

    context = BuildContext(device, dtype, kernels, language_model, vision_encoder)
    return context


def _fill(
    model: nn.Module,
    checkpoint: str,
    weights: Iterable[tuple[str, Tensor]],
    context: BuildContext,
    as_stored: frozenset[str],
) -> None:
    """checkpoint: its name. as_stored: names of weights that keep the dtype of their file."""
    expected = dict(model.state_dict())
    loaded: dict[str, Tensor] = {}
    for source, tensor in weights:
        place = cast(LanguageModel, model).map_weight(source)
        if place is None:
            continue
        targets = (place,) if isinstance(place, str) else place
        if not all(target in expected for target in targets):
            raise ConfigError(f"{checkpoint}: weight {source} has no place in the model")
        shapes = [expected[target].shape for target in targets]
        whole = shapes[0] if len(shapes) == 1 else _stacked(shapes)
        if tensor.shape != whole:
            raise ConfigError(
                f"{checkpoint}: weight {source} has shape {list(tensor.shape)}, the config "
                f"asks for {list(whole)}"
            )
        rows = [shape[0] for shape in shapes] if len(shapes) > 1 else []
        parts = torch.split(tensor, rows) if rows else [tensor]
        for target, part in zip(targets, parts, strict=True):
            if not _fits(part.dtype, expected[target].dtype):
                raise ConfigError(
                    f"{checkpoint}: weight {source} is stored as {dtype_name(part.dtype)}, "
                    f"but {dtype_name(expected[target].dtype)} is expected"
                )
            converts = part.is_floating_point() and target not in as_stored
            dtype = context.dtype if converts else part.dtype
            loaded[target] = part.to(context.device, dtype).contiguous()
    missing = sorted(set(expected) - set(loaded))
    if missing:
        raise ConfigError(f"{checkpoint}: {len(missing)} weights are missing, such as {missing[0]}")
    model.load_state_dict(loaded, assign=True)


def _fits(stored: torch.dtype, expected: torch.dtype) -> bool:
    """Whether a weight is of the kind that its place is for: the usual floats become each other."""
    return stored == expected or (stored in _USUAL_FLOATS and expected in _USUAL_FLOATS)


def _stacked(shapes: Sequence[torch.Size]) -> torch.Size:
    """The shape of the tensor whose rows are those of several."""
    return torch.Size((sum(shape[0] for shape in shapes), *shapes[0][1:]))
