"""What can be told of a model before anything heavy is imported: in a moment, where loading it
would fail after seconds or minutes."""

from __future__ import annotations

from pathlib import Path

from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.find_checkpoint import find_checkpoint
from ..checkpoints.json_file import read_json_file
from ..contracts.specs import JsonDict
from ..protocol.config import ConfigError, EngineConfig
from ..protocol.quantization.recipe import Recipe
from ..registry.registry import Registry, UnsupportedModelError, get_registry
from ..system.memory import available_memory
from .held_memory import held_bytes
from .recipe_check import check_recipe

_GIB = 2**30
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
    described = _described(checkpoint)
    if checkpoint.path.is_dir():
        _check_names(config, checkpoint, described, registry)
    # Files that are damaged are found by reading what they hold.
    held = held_bytes(config, described, checkpoint, registry)
    may_have_gpu = any(driver.exists() for driver in _GPU_DRIVERS)
    if config.device == "cpu" or (config.device == "auto" and not may_have_gpu):
        _check_memory(config, checkpoint, held, bool(described.get("quantization_config")))
    recipe = _recipe(config)
    if recipe is not None and not recipe.is_plain:
        check_recipe(config)


def _described(checkpoint: Checkpoint) -> JsonDict:
    """The config, of a folder as it is, since completing it may take seconds."""
    if checkpoint.path.is_dir():
        return read_json_file(checkpoint.path / "config.json")
    packed = checkpoint.kept_packed.quantization_config
    return {**checkpoint.config, "quantization_config": packed}


def _check_names(
    config: EngineConfig, checkpoint: Checkpoint, described: JsonDict, registry: Registry
) -> None:
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


def _check_memory(
    config: EngineConfig, checkpoint: Checkpoint, held: int, is_quantised: bool
) -> None:
    """By what is the least that the model can take."""
    free = available_memory()
    if held > free:
        stored = sum(path.stat().st_size for path in checkpoint.weight_paths())
        smaller = "" if config.quantization or is_quantised else " or --quantization int4"
        raise ConfigError(
            f"{checkpoint.name}: its weights take {_gib(held)} of memory, {_gib(stored)} in files, "
            f"and {_gib(free)} are free; end other programs, choose a smaller model{smaller}"
        )
    if config.kv_cache_memory is not None and held + config.kv_cache_memory > free:
        raise ConfigError(
            f"kv_cache_memory {_gib(config.kv_cache_memory)} is more than there is: "
            f"{_gib(free)} of memory are free, and the weights take {_gib(held)}"
        )


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / _GIB:.1f} GiB"
