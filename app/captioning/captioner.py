"""Batch captioning from Python."""

from __future__ import annotations

import io
import signal
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

from PIL import Image

from ...core.protocol.config import EngineConfig
from ...core.protocol.errors import RequestError
from ...core.protocol.setting import nearest
from .. import DEFAULT_PROMPT, DEMO_MODEL
from ..offline.url_reader import UrlReader
from ..serving.intake_config import IntakeConfig
from .backends.backend import Backend
from .backends.open_backend import open_backend
from .census import Census
from .entries import entry_of, row_of
from .job import JobOptions
from .outputs.fields import choose_fields, record
from .outputs.output_options import OutputOptions
from .picture import BytesAt, Picture, Skip, printable
from .plan import Destination, Plan
from .progress import Kind, Progress
from .prompts.prompt_fields import SHARED
from .prompts.prompt_set import PromptSet
from .run import Result, run_plan
from .sources.check import check_sources
from .sources.find import find_pictures
from .sources.options import SourceOptions
from .sources.places import place_of
from .sources.read import SourceReader
from .task import Captioned, Failed
from .task_maker import TaskMaker

#: A file, a folder, a list, a table, an archive or a URL, as `octavo caption` takes it, or several;
#: or any iterable of paths and URLs of pictures, of files' bytes and PIL images.
Sources = str | Path | Sequence[str | Path]
Source = str | Path | Iterable[str | Path | bytes | Image.Image]
Prompts = str | Mapping[str, str | Mapping[str, Any]]

_DESTINATION = {field.name for field in fields(Destination)} - {"output", "sidecars"}
_OPTIONS = {field.name for field in fields(JobOptions)}


class Captioner:
    """A model that captions any number of pictures. It is a context: at the end of a `with` it is
    closed.

    prompts: a text, whose answer is named "caption"; or by name texts, or tables of a text and
    other fields. workers: servers that answer in place of a model in this process; ray: the address
    of a cluster of Ray, or "local". allowed_media_domains, allowed_media_networks, media_timeout:
    see LLM. column: of tables, that of the pictures. settings: the fields of EngineConfig, and
    what a prompt may have beside its text: system, max_tokens, temperature, strip and so on.

    Raises RequestError or ConfigError, which name the field at fault. The model is loaded when it
    is first needed.
    """

    def __init__(
        self,
        model: str | Path = DEMO_MODEL,
        prompts: Prompts = DEFAULT_PROMPT,
        *,
        workers: Sequence[str] = (),
        ray: str | None = None,
        allowed_media_domains: Sequence[str] = (),
        allowed_media_networks: Sequence[str] = (),
        media_timeout: float = IntakeConfig.media_timeout,
        column: str | None = None,
        **settings: Any,
    ) -> None:
        shared = {name: settings.pop(name) for name in list(settings) if name in SHARED}
        self._config = EngineConfig.of(str(model), settings)
        limits = self._config.media_limits
        self._prompts = PromptSet.of(prompts, limits, **shared)
        self._column = column
        urls = UrlReader.of(
            allowed_media_domains, allowed_media_networks, media_timeout, limits.max_bytes
        )
        self._reader = SourceReader(limits, urls)
        self._elsewhere = (tuple(workers), ray)
        self._backend: Backend = open_backend(self._config, self._prompts, workers, ray)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the model, connections and actors go."""
        self._reader.close()
        self._backend.close()

    def caption(self, source: Source) -> Generator[dict[str, Any]]:
        """A row for each picture, in order, as it is in JSON lines: {"file": …, "caption": …}, with
        the answer to each prompt by its name, or {"file": …, "error": …}. What is no picture is
        left out, unless it was named. Closing the generator ends what runs.

        Raises RequestError for a source that can't be, and what loading the model raises.
        """
        found = self._find(source)
        chosen = choose_fields(OutputOptions(prompts=self._prompts.names))
        config = self._config
        make = TaskMaker(self._reader, self._prompts, config.media_limits, config.image_background)
        pictures = (picture for picture in found if isinstance(picture, Picture))
        for outcome in self._backend.run(pictures, make):
            if isinstance(outcome, Captioned | Failed):
                yield record(row_of(entry_of(outcome, self._prompts), printable), chosen)

    def to_jsonl(self, source: Sources, output: str | Path, **options: Any) -> Result:
        """See `write`."""
        return self._write_as((".jsonl", ".ndjson"), source, output, options)

    def to_csv(self, source: Sources, output: str | Path, **options: Any) -> Result:
        """See `write`."""
        return self._write_as((".csv", ".tsv"), source, output, options)

    def to_parquet(self, source: Sources, output: str | Path, **options: Any) -> Result:
        """See `write`."""
        return self._write_as((".parquet",), source, output, options)

    def to_webdataset(self, source: Sources, output: str | Path, **options: Any) -> Result:
        """See `write`."""
        return self._write_as((".tar",), source, output, options)

    def write(
        self,
        source: Sources,
        output: str | Path | None = None,
        sidecars: Sequence[str] = (),
        *,
        progress: Kind = "auto",
        **options: Any,
    ) -> Result:
        """Caption what `octavo caption` would, into a file whose ending tells the format, or into
        files beside the pictures, each exactly once: the same call goes on after whatever ended
        it. progress: "auto", "bar", "json" or "none".

        options: as those of `octavo caption`: errors, journal, fields, paths, header, shard_size,
        overwrite, retry_failed, only_missing, dedupe, max_errors.

        A first Ctrl-C, or SIGTERM, has it finish what runs and then takes effect; a second does
        at once. Raises RequestError for what can't be, OSError if the output can't be written.
        """
        plan = self._plan(source, output, sidecars, options)
        plan.check()
        census = Census()
        shown, hint = Progress(progress, census), "The same call goes on (without overwrite)."
        result = run_plan(plan, self._backend, self._reader, shown, census, hint)
        if result.ended_by is not None or result.too_many_errors:
            self._renew()
        if result.ended_by is not None:
            # What runs has been written; for whoever called, it comes now.
            signal.raise_signal(result.ended_by)
        return result

    def _renew(self) -> None:
        """Of a backend that was told to take no further pictures; a model of one's own stays."""
        if any(self._elsewhere):
            self._backend.close()
            self._backend = open_backend(self._config, self._prompts, *self._elsewhere)

    def _write_as(
        self,
        endings: Sequence[str],
        source: Sources,
        output: str | Path,
        options: dict[str, Any],
    ) -> Result:
        if Path(output).suffix.lower() not in endings:
            raise RequestError(f"{output}: its name must end in {' or '.join(endings)}")
        return self.write(source, output, **options)

    def _plan(
        self,
        source: Sources,
        output: str | Path | None,
        sidecars: Sequence[str],
        options: dict[str, Any],
    ) -> Plan:
        known = sorted(_DESTINATION | _OPTIONS)
        for name in options:
            if name not in known:
                raise RequestError(
                    f"{name} is no option that is known here{nearest(name, known)}; known: "
                    f"{', '.join(known)}"
                )
        destination = {name: value for name, value in options.items() if name in _DESTINATION}
        for name in ("errors", "journal"):
            if destination.get(name) is not None:
                destination[name] = Path(destination[name])
        return Plan(
            sources=_names(source),
            prompts=self._prompts,
            destination=Destination(
                output=None if output is None else Path(output),
                sidecars=tuple(sidecars),
                **destination,
            ),
            source_options=self._source_options,
            options=JobOptions(**{n: v for n, v in options.items() if n in _OPTIONS}),
            limits=self._config.media_limits,
            background=self._config.image_background,
        )

    @property
    def _source_options(self) -> SourceOptions:
        return SourceOptions(self._column, limits=self._config.media_limits)

    def _find(self, source: Source) -> Iterator[Picture | Skip]:
        if isinstance(source, str | Path):
            source = [source]
        if isinstance(source, Sequence) and all(isinstance(s, str | Path) for s in source):
            names = [str(name) for name in source]
            check_sources(names, self._source_options)
            return find_pictures(names, self._source_options)
        return (_picture(item, index) for index, item in enumerate(source))


def caption(
    source: Source,
    prompts: Prompts = DEFAULT_PROMPT,
    *,
    model: str | Path = DEMO_MODEL,
    **settings: Any,
) -> Generator[dict[str, Any]]:
    """A row for each picture of a source, in order: see Captioner, whose arguments it takes, and
    its `caption`. The model is let go with the generator."""
    with Captioner(model, prompts, **settings) as captioner:
        yield from captioner.caption(source)


def _names(source: Sources) -> list[str]:
    return [str(source)] if isinstance(source, str | Path) else [str(name) for name in source]


def _picture(item: Any, index: int) -> Picture:
    if isinstance(item, str | Path):
        name, place = place_of(str(item), "")
        return Picture(name or f"#{index}", place, was_named=True)
    if isinstance(item, Image.Image):
        file = io.BytesIO()
        item.save(file, "PNG")
        item = file.getvalue()
    if not isinstance(item, bytes):
        raise RequestError(
            f"source[{index}] must be a path, a URL, the bytes of a file or a PIL image, not "
            f"{type(item)}"
        )
    return Picture(f"#{index}", BytesAt(item), was_named=True)
