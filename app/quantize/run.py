"""A run of `octavo quantize`, from a checkpoint's folder to another."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from ... import __version__
from ...core.checkpoints.checkpoint import Checkpoint
from ...core.checkpoints.find_checkpoint import find_checkpoint
from ...core.checkpoints.weights_digest import weights_digest
from ...core.protocol.config import ConfigError
from .blocks import BlockRounding
from .budget.choice import check_budget, choose_grids
from .finished_blocks import FinishedBlocks
from .layer_grids import GridCosts, LayerGrids, first_grids, grid_costs, num_weights, total_bits
from .layer_targets import layer_targets, plain_patterns
from .recipe import Recipe
from .report import LayerReport, Report
from .samples import Samples, read_samples
from .source_model import SourceModel, load_source
from .stored_names import find_stored_names
from .tuning.result import TuningResult
from .tuning.tune import can_tune, tune_scales
from .work_folder import WorkFolder, check_output
from .write_checkpoint import SHARD_BYTES, quantization_settings, write_checkpoint

_NUM_SAMPLES, _SAMPLE_LEN = 64, 512


@dataclass(frozen=True)
class Job:
    """What is asked for. calibration: a file or a folder; None for the texts that come along.
    num_samples, sample_len: None for 64 pieces of 512 tokens."""

    model: str
    output: Path
    recipe: Recipe
    calibration: Path | None = None
    num_samples: int | None = None
    sample_len: int | None = None
    shard_bytes: int = SHARD_BYTES


def quantize(job: Job, tell: Callable[[str], None]) -> Report:
    """Write the checkpoint, or go on where a run by the same settings stopped. tell: is given lines
    for the user.

    Raises ConfigError if the model, the calibration or the output can't be used, before anything is
    computed.
    """
    check_output(job.output)
    checkpoint = find_checkpoint(job.model)
    _check_plain(checkpoint)
    source = load_source(checkpoint)
    samples = _samples(job, checkpoint, source, tell)
    names = find_stored_names(source, checkpoint)
    folder = WorkFolder(job.output)
    costs = grid_costs(source, job.recipe)
    _check_grids(source, job.recipe, costs, checkpoint.name)
    _check_space(source, job.recipe, costs, checkpoint, folder)
    with folder.opened(_settings(job, checkpoint, samples)):
        return _make(job, checkpoint, source, samples, names, costs, folder)


def _make(
    job: Job,
    checkpoint: Checkpoint,
    source: SourceModel,
    samples: Samples,
    names: Sequence[dict[str, str]],
    costs: GridCosts,
    folder: WorkFolder,
) -> Report:
    """Finish what the folder, which is this run's alone, doesn't hold."""
    grids = _grids(source, job.recipe, costs, samples, folder)
    settings = quantization_settings(layer_targets(source, grids), plain_patterns(source, grids))
    looked_at = samples.inputs if job.recipe.solver != "rtn" else []
    rounding = BlockRounding(source, names, grids, job.recipe, looked_at, folder)
    # A bar where standard error is a terminal.
    bar = tqdm(rounding.run(), total=len(names), unit="block", leave=False, disable=None)
    reports: list[list[LayerReport]] = list(bar)
    tuned = _tuned(FinishedBlocks(source, names, grids), job.recipe, samples, folder)
    write_checkpoint(
        folder.begin_whole(),
        checkpoint.path,
        _all_tensors(checkpoint, folder, names, grids, tuned.scales if tuned else {}),
        settings,
        job.shard_bytes,
    )
    before = sum(path.stat().st_size for path in checkpoint.weight_paths())
    after = sum(path.stat().st_size for path in folder.whole.glob("*.safetensors"))
    folder.finish()
    bits = total_bits(costs, grids) / num_weights(source)
    divergences = (tuned.before, tuned.after) if tuned else None
    return Report(job.output, reports, before, after, bits, divergences)


def _tuned(
    blocks: FinishedBlocks, recipe: Recipe, samples: Samples, folder: WorkFolder
) -> TuningResult | None:
    """As an earlier run did it, if one did; None if there is nothing to do."""
    if not recipe.tunes or not can_tune(samples.inputs):
        return None
    result = folder.get_tuned()
    if result is None:
        result = tune_scales(blocks, samples.inputs, folder)
        folder.put_tuned(result)
    return result


def _check_plain(checkpoint: Checkpoint) -> None:
    if checkpoint.path.is_file():
        raise ConfigError(
            f"{checkpoint.name} is a GGUF file; quantize takes folders of safetensors"
        )
    method = checkpoint.quantization_config.get("quant_method")
    if method or checkpoint.quantization_config:
        raise ConfigError(
            f"{checkpoint.name} is quantised with {method or 'some method'} already; quantize "
            "takes plain checkpoints"
        )
    checkpoint.weight_paths()


def _samples(
    job: Job, checkpoint: Checkpoint, source: SourceModel, tell: Callable[[str], None]
) -> Samples:
    if not job.recipe.calibrates:
        given = {
            "--calibration": job.calibration,
            "--num-samples": job.num_samples,
            "--sample-len": job.sample_len,
        }
        for option, value in given.items():
            if value is not None:
                raise ConfigError(f"{option}: this method looks at no data")
        return Samples([], 0)
    count, length = job.num_samples or _NUM_SAMPLES, job.sample_len or _SAMPLE_LEN
    config = source.model.config.get_text_config(decoder=True)
    most = getattr(config, "max_position_embeddings", None) or length
    if length > most:
        raise ConfigError(f"--sample-len {length}: {checkpoint.name} takes {most} tokens")
    samples = read_samples(checkpoint, job.calibration, count, length, source.takes_images)
    origin = "Octavo's own texts" if job.calibration is None else str(job.calibration)
    pictures = f", {samples.num_pictures} with a picture" if samples.num_pictures else ""
    tell(
        f"calibrating on {len(samples.inputs)} samples of {origin}{pictures}: "
        f"{samples.num_tokens} tokens"
    )
    if job.recipe.tunes and not can_tune(samples.inputs):
        tell("scales are not tuned: of one sample, none can be held out")
    if source.takes_images and not samples.num_pictures:
        tell("none shows a picture: --calibration takes a folder with some, for a model of images")
    return samples


def _check_grids(source: SourceModel, recipe: Recipe, costs: GridCosts, name: str) -> None:
    """Raises ConfigError if no layer fits a grid, or if the budget can't be kept."""
    if not any(grid for block in costs for own in block.values() for grid in own):
        raise ConfigError(f"{name}: no layer has inputs that are whole words of 32 bits")
    if recipe.budget is not None:
        check_budget(source, costs, recipe.budget, name)


def _grids(
    source: SourceModel, recipe: Recipe, costs: GridCosts, samples: Samples, folder: WorkFolder
) -> LayerGrids:
    """As an earlier run chose them, if it did."""
    if recipe.budget is None:
        return first_grids(costs)
    chosen = folder.get_grids()
    if chosen is None:
        chosen = choose_grids(source, samples.inputs, costs, recipe.budget)
        folder.put_grids(chosen)
    return chosen


def _check_space(
    source: SourceModel,
    recipe: Recipe,
    costs: GridCosts,
    checkpoint: Checkpoint,
    folder: WorkFolder,
) -> None:
    """Raises ConfigError if finished blocks and the whole don't fit on the disk."""
    plain = num_weights(source) * source.dtype.itemsize
    made: float = total_bits(costs, first_grids(costs)) / 8
    if recipe.budget is not None:
        made = num_weights(source) * recipe.budget / 8
    needed = sum(path.stat().st_size for path in checkpoint.weight_paths()) - plain + 2 * made
    place = next(p for p in folder.path.absolute().parents if p.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise ConfigError(
            f"{place} has {free / 1e9:.1f} GB free, and {folder.output} takes "
            f"{needed / 1e9:.1f} GB while it is made; free some or name another output"
        )


def _settings(job: Job, checkpoint: Checkpoint, samples: Samples) -> dict[str, Any]:
    """All that a finished block depends on."""
    digest = hashlib.sha256()
    for sample in samples.inputs:
        for name, value in sorted(sample.items()):
            digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(value.contiguous().numpy().tobytes())
    return {
        "version": __version__,
        "model": weights_digest(checkpoint),
        "method": json.loads(json.dumps(asdict(job.recipe))),
        "calibration": digest.hexdigest(),
    }


def _all_tensors(
    checkpoint: Checkpoint,
    folder: WorkFolder,
    names: Sequence[dict[str, str]],
    grids: LayerGrids,
    tuned: Mapping[str, Tensor],
) -> Iterator[tuple[str, Tensor]]:
    """The source's, but for those that blocks have in their place, with tuned ones in theirs."""
    replaced = set()
    for index, own in enumerate(names):
        made, _ = folder.get(index)
        yield from ((name, tuned.get(name, tensor)) for name, tensor in made.items())
        replaced |= {own[f"{layer}.weight"] for layer in grids[index] if grids[index][layer]}
        replaced |= set(made)
    for name, tensor in checkpoint.weights():
        if name not in replaced:
            yield name, tensor
