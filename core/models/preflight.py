"""What can be told of a model before anything heavy is imported: in a moment, where loading it
would fail after seconds or minutes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.find_checkpoint import find_checkpoint
from ..checkpoints.json_file import read_json_file
from ..checkpoints.weight_files import check_whole, find_weights
from ..protocol.config import ConfigError, EngineConfig
from ..protocol.quantization.recipe import Recipe
from ..registry.registry import Registry, UnsupportedModelError, get_registry
from ..system.memory import available_memory
from .recipe_check import check_recipe

_GIB = 2**30
#: Of 16 bits each weight may be left with 4.
_MOST_SHRUNK = 4
#: Of NVIDIA, of GPUs under WSL 2, and of AMD: where there is one, the model may lie elsewhere.
_GPU_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))


def preflight(config: EngineConfig) -> None:
    """`check_before_loading` a model that is on this machine."""
    check_before_loading(config, find_checkpoint(config.model, config.mmproj), get_registry())


def check_before_loading(config: EngineConfig, checkpoint: Checkpoint, registry: Registry) -> None:
    """Raises ConfigError for damaged files of weights, a lack of memory or a grammar backend that
    isn't there, and UnsupportedModelError for an architecture or a quantisation method that nothing
    serves; also ConfigError for rules of quantisation that don't fit the model's layers, which
    takes seconds."""
    registry.grammar_by_name(config.structured_outputs_backend)
    in_folder = checkpoint.path.is_dir()
    if in_folder:
        _check_names(config, checkpoint, registry)
    size = _check_weights(checkpoint) if in_folder else _size(checkpoint.weight_paths())
    may_have_gpu = any(driver.exists() for driver in _GPU_DRIVERS)
    if config.device == "cpu" or (config.device == "auto" and not may_have_gpu):
        _check_memory(config, checkpoint, size)
    recipe = _recipe(config)
    if recipe is not None and not recipe.is_plain:
        check_recipe(config)


def _check_names(config: EngineConfig, checkpoint: Checkpoint, registry: Registry) -> None:
    described = read_json_file(checkpoint.path / "config.json")
    if config.model_impl == "octavo":
        registry.model_for_config(described)
    stored = described.get("quantization_config") or {}
    name, recipe = stored.get("quant_method"), _recipe(config)
    for method in [name] if name else recipe.methods if recipe else []:
        try:
            registry.quant_by_name(method)
        except UnsupportedModelError as error:
            where = f"{checkpoint.name}: " if stored else "--quantization: "
            raise UnsupportedModelError(f"{where}{error}") from error


def _recipe(config: EngineConfig) -> Recipe | None:
    return None if config.quantization is None else Recipe.of(config.quantization)


def _check_weights(checkpoint: Checkpoint) -> int:
    """Returns the bytes of all files."""
    try:
        paths = find_weights(checkpoint.path).present()
        for path in paths:
            check_whole(path)
    except ConfigError as error:
        raise ConfigError(f"{checkpoint.name}: {error}") from error
    return _size(paths)


def _size(paths: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def _check_memory(config: EngineConfig, checkpoint: Checkpoint, weight_bytes: int) -> None:
    """By what is the least that the model can take."""
    free = available_memory()
    if config.quantization is not None:
        weight_bytes //= _MOST_SHRUNK
    if weight_bytes > free:
        raise ConfigError(
            f"{checkpoint.name}: its weights take {_gib(weight_bytes)}, and {_gib(free)} of memory "
            "are free; end other programs, choose a smaller model or --quantization int4"
        )
    if config.kv_cache_memory is not None and weight_bytes + config.kv_cache_memory > free:
        raise ConfigError(
            f"kv_cache_memory {_gib(config.kv_cache_memory)} is more than there is: "
            f"{_gib(free)} of memory are free, and the weights take {_gib(weight_bytes)}"
        )


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / _GIB:.1f} GiB"
