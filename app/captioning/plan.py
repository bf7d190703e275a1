"""From what is asked of a job to one that can run: all that can be wrong is found before a model is
loaded."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from ... import __version__
from ...core.media.decode import WHITE
from ...core.media.flatten import Colour
from ...core.protocol.errors import RequestError
from ...core.protocol.media_limits import MediaLimits
from .backends.backend import Backend
from .entries import PathStyle, shown_names
from .job import Job, JobOptions, Watcher
from .journal import Journal, JournalInUseError, key_of
from .outputs.open_sink import STANDARD_OUTPUT, errors_sink, is_stream, sink_for
from .outputs.output_options import OutputOptions
from .outputs.sink import START
from .picture import FileAt, Picture, Skip, printable
from .prompts.prompt_set import PromptSet
from .recorder import Output
from .sources.check import check_sources, may_have_columns
from .sources.find import find_pictures
from .sources.options import SourceOptions
from .sources.read import SourceReader

_HIDDEN_JOURNAL = ".octavo-captions.journal"


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where captions go, and what is done about those that are there.

    output: a file, by whose ending the format is chosen; "-" is standard output. sidecars: endings
    of files beside each picture. errors: of pictures that failed. journal: None is beside the
    output. fields, shard_size: see OutputOptions. paths: how files are named. header: whether an
    output tells of the job. overwrite: start anew.
    """

    output: Path | None = None
    sidecars: tuple[str, ...] = ()
    errors: Path | None = None
    journal: Path | None = None
    fields: tuple[str, ...] = ()
    paths: PathStyle = "given"
    header: bool = True
    shard_size: int = 10_000
    overwrite: bool = False

    @property
    def has_header(self) -> bool:
        """Standard output has none: whoever reads it knows what was typed."""
        return self.header and self.output != STANDARD_OUTPUT

    @property
    def shows_failures(self) -> bool:
        """Whether a file says why a picture failed."""
        return self.errors is not None or self.output is not None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """sources: see `find_pictures`. limits, background: see TaskMaker."""

    sources: Sequence[str]
    prompts: PromptSet
    destination: Destination
    source_options: SourceOptions = field(default_factory=SourceOptions)
    options: JobOptions = field(default_factory=JobOptions)
    limits: MediaLimits = field(default_factory=MediaLimits)
    background: Colour = WHITE

    def check(self) -> None:
        """Raises RequestError for sources, templates and destinations that can't be."""
        if self.options.retry_failed and self.destination.overwrite:
            raise RequestError("--retry-failed goes on with a job, and --overwrite starts it anew")
        if self.options.only_missing and self.destination.overwrite:
            raise RequestError("--only-missing keeps what --overwrite replaces; take one")
        self._check_distinct()
        check_sources(self._foreign_sources, self.source_options)
        if not self._may_have_columns:
            self.prompts.check_columns(())
        for output in self._outputs(None):
            output.sink.check()
            if self.options.only_missing:
                output.sink.names()

    @contextmanager
    def job(self, backend: Backend, reader: SourceReader, watcher: Watcher) -> Iterator[Job]:
        """The job, with its journal open. Raises RequestError if an earlier run asked for
        something else, OSError if the journal can't be written."""
        facts = self._facts(backend)
        with ExitStack() as stack:
            journal = self._open_journal(facts)
            stack.callback(journal.close)
            outputs = self._outputs(journal)
            if journal.facts is None:
                journal.begin(facts, self._origins(outputs))
            elif self.options.retry_failed:
                journal.forget_failed({o.name for o in outputs if o.takes == "captioned"})
            # What others wrote into an output before is not captioned by later runs either.
            adopted = any(journal.origin(output.name) != START for output in outputs)
            only_missing = self.options.only_missing or adopted
            yield Job(
                self._find(),
                reader,
                self.prompts,
                self.limits,
                self.background,
                backend,
                outputs,
                journal,
                {"octavo": __version__, **facts} if self.destination.has_header else None,
                replace(self.options, only_missing=only_missing),
                watcher,
            )

    @property
    def journal_path(self) -> Path | None:
        """None for an output that can't be gone on with: its journal lasts as long as the job."""
        chosen = self.destination
        if chosen.journal is not None:
            return chosen.journal
        if chosen.output is None:
            return self._beside_pictures()
        if chosen.output == STANDARD_OUTPUT or is_stream(str(chosen.output)):
            return None
        return chosen.output.with_name(f"{chosen.output.name}.journal")

    def _own_files(self) -> list[Path]:
        """Which the job writes."""
        chosen = self.destination
        files = (chosen.output, chosen.errors, self.journal_path)
        return [path for path in files if path not in (None, STANDARD_OUTPUT)]

    def _check_distinct(self) -> None:
        own = [os.path.abspath(path) for path in self._own_files()]
        for path in own:
            if own.count(path) > 1:
                raise RequestError(f"{printable(path)} can't be two of output, errors and journal")

    @cached_property
    def _foreign_sources(self) -> list[str]:
        """Without the job's own files, which a shell's photos/* has, too, at a second run."""
        is_own = self._own_matcher()
        return [source for source in self.sources if not is_own(source)]

    @cached_property
    def _may_have_columns(self) -> bool:
        return may_have_columns(self._foreign_sources)

    def _find(self) -> Iterator[Picture | Skip]:
        is_own = self._own_matcher()
        for found in find_pictures(self._foreign_sources, self.source_options):
            if not is_own(found.name):
                yield found

    def _own_matcher(self) -> Callable[[str], bool]:
        """Whether a file is the job's own: what it names, and what goes with that."""
        own = {os.path.abspath(path) for path in self._own_files()}
        # SQLite's, and the description of a CSV file.
        own |= {f"{path}-journal" for path in own} | {f"{path}-metadata.json" for path in own}
        shards = [re.escape(path[: -len(".tar")]) for path in own if path.endswith(".tar")]
        pattern = re.compile(rf"(?:{'|'.join(shards)})-\d+\.tar" if shards else "(?!)")

        def is_own(name: str) -> bool:
            path = os.path.abspath(name)
            return path in own or pattern.fullmatch(path) is not None

        return is_own

    def _beside_pictures(self) -> Path:
        first = self.sources[0]
        folder = first if os.path.isdir(first) else os.path.dirname(first) or "."
        if not os.path.isdir(folder):
            raise RequestError("--sidecar without -o keeps a journal: name a file by --journal")
        return Path(folder, _HIDDEN_JOURNAL)

    def _facts(self, backend: Backend) -> dict[str, Any]:
        """All that another run must have in common with this one, to be its continuation."""
        chosen = self.destination
        facts: dict[str, Any] = {**backend.facts, "prompts": self.prompts.facts}
        if chosen.fields:
            facts["fields"] = list(chosen.fields)
        if chosen.paths != "given":
            facts["paths"] = chosen.paths
        if chosen.sidecars:
            facts["sidecars"] = list(chosen.sidecars)
        if chosen.errors is not None:
            facts["failures"] = "in a file of their own"
        return dict(msgspec.json.decode(msgspec.json.encode(facts)))

    def _open_journal(self, facts: dict[str, Any]) -> Journal:
        path = self.journal_path
        if path is None:
            return Journal(None)
        if self.destination.overwrite and path.exists():
            _remove(path, is_ours_by_name=self.destination.journal is None)
        journal = Journal(path)
        try:
            _check_same(journal.facts, facts, path)
        except RequestError:
            journal.close()
            raise
        return journal

    def _is_known(self) -> bool:
        """Whether there is a journal of an earlier run."""
        path = self.journal_path
        return path is not None and not self.destination.overwrite and path.exists()

    def _origins(self, outputs: Sequence[Output]) -> dict[str, Any]:
        if not self.options.only_missing:
            return {}
        return {output.name: output.sink.end() for output in outputs}

    def _outputs(self, journal: Journal | None) -> list[Output]:
        chosen = self.destination

        def is_ours(path: str) -> bool:
            return journal is not None and journal.has(key_of(Picture(path, FileAt(path))))

        options = OutputOptions(
            prompts=self.prompts.names,
            fields=chosen.fields,
            columns=None if self._may_have_columns else (),
            sidecars=chosen.sidecars,
            shard_size=chosen.shard_size,
            overwrite=chosen.overwrite,
            goes_on=self._is_known() or self.options.only_missing,
            failures_elsewhere=chosen.errors is not None,
            is_ours=is_ours,
        )
        main = sink_for(chosen.output, options)
        no_failures = main.takes_content or chosen.output is None or chosen.errors is not None
        show = shown_names(chosen.paths, chosen.output)
        outputs = [Output("output", main, "captioned" if no_failures else "all", show)]
        if chosen.errors is not None:
            sink = errors_sink(chosen.errors, options)
            outputs.append(Output("errors", sink, "failed", show))
        return outputs


def _remove(path: Path, is_ours_by_name: bool) -> None:
    """Raises JournalInUseError: whoever has it would go on, and write over the new one's rows; and
    RequestError for a file that is no journal and was merely named as one."""
    try:
        Journal(path).close()
    except JournalInUseError:
        raise
    except RequestError:
        if not is_ours_by_name:
            raise
    path.unlink()


def _check_same(known: dict[str, Any] | None, facts: dict[str, Any], path: Path) -> None:
    if known is None:
        return
    before, now = _flat(known), _flat(facts)
    differences = [
        f"{name} was {before.get(name)!r} and is {now.get(name)!r}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if differences:
        raise RequestError(
            f"{printable(str(path))} is of a job that asked for something else: "
            f"{'; '.join(differences)}. Captions of both would be mixed: start anew with "
            "--overwrite, or name another output"
        )


def _flat(facts: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in facts.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
