"""Downloads of a model's files from the Hugging Face hub, none but those that are read."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from glob import escape
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ..protocol.config import NO_MMPROJ, ConfigError
from .gguf.mmproj.find_projector import is_projector
from .weight_files import INDEX, WHOLE, find_weights

logger = logging.getLogger(__name__)

#: Files of a model beside the shards that its index names.
_PATTERNS = ["*.json", "*.jinja", "*.model", "*.txt", WHOLE]
_GGUF = ".gguf"
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


class HubFiles(NamedTuple):
    """path: a folder, or a GGUF file. mmproj: that goes with it, see EngineConfig."""

    path: Path
    mmproj: str | None


def is_hub_id(name: str) -> bool:
    """Whether a name is one of the hub's, rather than of a file or a folder, even if there is no
    such file."""
    is_gguf = name.endswith(_GGUF) and ":" not in name
    names_file = name.startswith((".", "/", "~")) or is_gguf
    return not names_file and not Path(name).exists()


def download(name: str, mmproj: str | None) -> HubFiles:
    """The files of a repository that aren't in the cache. name: "owner/model", or with a colon
    after it one of its GGUF files, by its name or a part of that such as "Q4_K_M". mmproj: see
    EngineConfig; of GGUF files, the repository's projector, if it has one, by default.

    Raises ConfigError if the hub has no such files, or several of which none is named.
    """
    from huggingface_hub import errors

    repo, colon, wanted = name.partition(":")
    logger.info("looking for %s on the Hugging Face hub", name)
    try:
        files = _files_of(repo)
        ggufs = [file for file in files if file.endswith(_GGUF)]
        if colon or (ggufs and not {WHOLE, INDEX} & set(files)):
            return _gguf_file(name, ggufs, wanted, mmproj)
        return HubFiles(_folder(repo), mmproj)
    except ConfigError:
        raise
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError, ValueError) as error:
        raise ConfigError(
            f"model {name!r} is neither a local folder nor available from the Hugging Face hub: "
            f"{error}"
        ) from error


def _folder(repo: str) -> Path:
    """What is read of a repository in Hugging Face format."""
    folder = _snapshot(repo, _PATTERNS)
    if not (folder / WHOLE).is_file() and (folder / INDEX).is_file():
        folder = _snapshot(repo, [escape(shard) for shard in find_weights(folder).names])
    return folder


def _snapshot(repo: str, patterns: Sequence[str]) -> Path:
    import huggingface_hub

    return Path(huggingface_hub.snapshot_download(repo, allow_patterns=list(patterns)))


def _files_of(repo: str) -> list[str]:
    """Names of a repository's files, or of those in the cache where the hub doesn't answer."""
    import huggingface_hub
    from huggingface_hub import errors

    try:
        siblings = huggingface_hub.HfApi().model_info(repo).siblings
        return [sibling.rfilename for sibling in siblings or ()]
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise
    except Exception as error:  # noqa: BLE001 - the transport's errors depend on the version
        try:
            # None of the files is asked for, as not all need be there.
            found = huggingface_hub.snapshot_download(
                repo, allow_patterns=[], local_files_only=True
            )
        except errors.LocalEntryNotFoundError:
            raise ConnectionError(error) from error
        folder = Path(found)
        files = (path for path in folder.rglob("*") if path.is_file())
        return [path.relative_to(folder).as_posix() for path in files]


def _gguf_file(name: str, files: Sequence[str], wanted: str, mmproj: str | None) -> HubFiles:
    """files: all GGUF files of the repository. wanted: the one after the colon, or ""."""
    repo = name.partition(":")[0]
    models = [file for file in files if not is_projector(Path(file))]
    chosen = [_choose(name, models, wanted)]
    is_here = mmproj is not None and Path(mmproj).expanduser().is_file()
    if mmproj != NO_MMPROJ and not is_here:
        chosen += _choose_projector(name, [f for f in files if f not in models], mmproj)
    folder = _snapshot(repo, [escape(file) for file in chosen])
    paths = [folder / file for file in chosen]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise ConfigError(f"model {name!r}: {', '.join(missing)} can't be had from the hub")
    if len(paths) > 1:
        return HubFiles(paths[0], str(paths[1]))
    return HubFiles(paths[0], mmproj if is_here else NO_MMPROJ)


def _choose(name: str, models: Sequence[str], wanted: str) -> str:
    repo = name.partition(":")[0]
    found = [file for file in models if not wanted or _is_called(file, wanted)]
    exact = [file for file in found if wanted in (file, PurePosixPath(file).name)]
    found = exact or found
    listed = ", ".join(models) or "none"
    if not found:
        raise ConfigError(f"model {name!r}: {repo} has no such GGUF file; there are: {listed}")
    if all(map(_PART.search, found)):
        raise ConfigError(
            f"model {name!r}: {found[0]} is one of several parts; join them first by llama.cpp's "
            "llama-gguf-split --merge"
        )
    if len(found) > 1:
        raise ConfigError(
            f"model {name!r}: {repo} has several GGUF files{' of that name' if wanted else ''}, "
            f"name one after a colon, as in {repo}:{PurePosixPath(found[0]).name}: {listed}"
        )
    return found[0]


def _is_called(file: str, wanted: str) -> bool:
    """By its whole name, or a part of that between hyphens and dots, such as its quantisation."""
    path = PurePosixPath(file)
    if wanted in (file, path.name):
        return True
    part = rf"(^|[-.]){re.escape(wanted)}([-.]|$)"
    return re.search(part, path.name.removesuffix(_GGUF), re.IGNORECASE) is not None


def _choose_projector(name: str, projectors: Sequence[str], mmproj: str | None) -> list[str]:
    """One of the repository's, or none."""
    listed = ", ".join(projectors) or "none"
    if mmproj is not None:
        found = [file for file in projectors if mmproj in (file, PurePosixPath(file).name)]
        if len(found) != 1:
            raise ConfigError(
                f"mmproj {mmproj!r} is no file here, and no vision projector of {name}, which has "
                f"{listed}"
            )
        return found
    if len(projectors) > 1:
        raise ConfigError(
            f"model {name!r} has several vision projectors, name one by --mmproj, or "
            f"{NO_MMPROJ}: {listed}"
        )
    return list(projectors)
