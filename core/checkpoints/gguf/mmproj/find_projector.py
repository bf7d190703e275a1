"""Which vision projector belongs to a GGUF file."""

from __future__ import annotations

from pathlib import Path

from ....protocol.config import NO_MMPROJ, ConfigError


def is_projector(path: Path) -> bool:
    """Whether a file is a projector's, by its name: makers put "mmproj" at the beginning or at the
    end."""
    return "mmproj" in path.name.lower()


def find_projector(model: Path, mmproj: str | None) -> Path | None:
    """model: the file of a language model. mmproj: see EngineConfig. None: there is none, or none
    is wanted. Raises ConfigError for one that is not there, and for several of which none is
    named."""
    if mmproj == NO_MMPROJ:
        return None
    if mmproj is not None:
        return _named(mmproj, model.parent)
    beside = sorted(filter(is_projector, model.parent.glob("*.gguf")))
    if len(beside) > 1:
        listed = ", ".join(path.name for path in beside)
        raise ConfigError(
            f"{model.parent} has several vision projectors, name one by --mmproj, or "
            f"{NO_MMPROJ}: {listed}"
        )
    return beside[0] if beside else None


def _named(mmproj: str, folder: Path) -> Path:
    for path in (Path(mmproj).expanduser(), folder / mmproj):
        if path.is_file():
            return path
    raise ConfigError(f"mmproj {mmproj!r} is no file, neither here nor in {folder}")
