"""What a run has finished, kept beside its output so that another run goes on from there."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...core.protocol.config import ConfigError
from ...core.quantization.rounding.grid import Grid
from .layer_grids import LayerGrids
from .report import LayerReport
from .tuning.result import TuningResult

_SETTINGS, _GRIDS = "settings.json", "grids.json"
_WHOLE, _REPORTS = "checkpoint", "reports"
_TUNING, _TUNED, _RESULT = "tuning.pt", "tuned.safetensors", "result"


@dataclass(frozen=True)
class WorkFolder:
    """`OUT.partial` of an output folder OUT. It has a file for each finished block."""

    output: Path

    @property
    def path(self) -> Path:
        """The folder."""
        return self.output.with_name(f"{self.output.name}.partial")

    @property
    def whole(self) -> Path:
        """Where the checkpoint is put together."""
        return self.path / _WHOLE

    @contextmanager
    def opened(self, settings: Mapping[str, Any]) -> Iterator[None]:
        """Begin, or go on with what was begun by the same settings. Raises ConfigError if it was by
        others, if another run is at it, or if something else is there."""
        check_output(self.output)
        noted = self.path / _SETTINGS
        if not self.path.exists():
            self.path.mkdir(parents=True)
        if not self.path.is_dir() or (any(self.path.iterdir()) and not noted.is_file()):
            raise ConfigError(f"{self.path} is in the way; remove it or name another output")
        with _alone_in(self.path):
            if not noted.is_file():
                _write(noted, json.dumps(settings, indent=2))
            self._check_settings(settings, noted)
            yield

    def _check_settings(self, settings: Mapping[str, Any], noted: Path) -> None:
        begun = json.loads(noted.read_text())
        changed = [k for k in settings if begun.get(k) != json.loads(json.dumps(settings[k]))]
        if changed:
            raise ConfigError(
                f"{self.path} holds a run with another {' and another '.join(changed)}; remove it "
                "to begin anew, or name another output"
            )

    def put_grids(self, grids: LayerGrids) -> None:
        """Keep which grids were chosen."""
        chosen = [{n: g and asdict(g) for n, g in block.items()} for block in grids]
        _write(self.path / _GRIDS, json.dumps(chosen, indent=2))

    def get_grids(self) -> LayerGrids | None:
        """Those that were chosen, if they were."""
        kept = self.path / _GRIDS
        if not kept.is_file():
            return None
        return [
            {name: grid and Grid(**grid) for name, grid in block.items()}
            for block in json.loads(kept.read_text())
        ]

    def holds(self, block: int) -> bool:
        """Whether a block is finished."""
        return self._file(block).is_file()

    def put(
        self, block: int, tensors: Mapping[str, Tensor], reports: Sequence[LayerReport]
    ) -> None:
        """Keep a finished block. reports: of its layers."""
        temporary = self._file(block).with_suffix(".writing")
        held = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(held, temporary, {_REPORTS: json.dumps([asdict(each) for each in reports])})
        temporary.replace(self._file(block))

    def get(self, block: int) -> tuple[dict[str, Tensor], list[LayerReport]]:
        """A finished block's tensors, and the reports."""
        with safe_open(self._file(block), framework="pt") as file:
            names = list(file.keys())
            reports = [
                LayerReport(**{**each, "grid": each["grid"] and Grid(**each["grid"])})
                for each in json.loads(file.metadata()[_REPORTS])
            ]
            return {name: file.get_tensor(name) for name in names}, reports

    def put_tuning(self, state: Mapping[str, Any]) -> None:
        """Keep how far tuning is."""
        temporary = (self.path / _TUNING).with_suffix(".writing")
        torch.save(dict(state), temporary)
        temporary.replace(self.path / _TUNING)

    def get_tuning(self) -> dict[str, Any] | None:
        """What was kept, if it was."""
        kept = self.path / _TUNING
        if not kept.is_file():
            return None
        state: dict[str, Any] = torch.load(kept, weights_only=True)
        return state

    def put_tuned(self, result: TuningResult) -> None:
        """Keep what came of tuning."""
        temporary = (self.path / _TUNED).with_suffix(".writing")
        noted = json.dumps({"before": result.before, "after": result.after})
        save_file(dict(result.scales), temporary, {_RESULT: noted})
        temporary.replace(self.path / _TUNED)

    def get_tuned(self) -> TuningResult | None:
        """That, if it is there."""
        kept = self.path / _TUNED
        if not kept.is_file():
            return None
        with safe_open(kept, framework="pt") as file:
            scales = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return TuningResult(scales, **json.loads(file.metadata()[_RESULT]))

    def begin_whole(self) -> Path:
        """An empty folder for the checkpoint."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self.whole)
        self.whole.mkdir()
        return self.whole

    def finish(self) -> None:
        """Give the checkpoint its place, and remove what else there is."""
        check_output(self.output)
        self.whole.replace(self.output)
        shutil.rmtree(self.path)

    def _file(self, block: int) -> Path:
        return self.path / f"block-{block:04}.safetensors"


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Lock a folder, where the file system has locks. That of a process that dies ends with it.
    Raises ConfigError if another has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(
            f"another run is at work in {folder}; wait for it, or name another output"
        ) from error


def check_output(output: Path) -> None:
    """Raises ConfigError if something is there already."""
    if output.exists() or output.is_symlink():
        raise ConfigError(f"{output} exists already; remove it or name another output")


def _write(path: Path, text: str) -> None:
    temporary = path.with_suffix(".writing")
    temporary.write_text(text)
    temporary.replace(path)
