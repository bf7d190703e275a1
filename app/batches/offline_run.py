"""A file of requests answered into another, without a server: each line once, over restarts."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from ...core.protocol.errors import RequestError
from ..whole_files import naming_file, replacing, sync_folder, write_whole
from .answers import Ask
from .input_file import LineRules, check_file, lines_of
from .line_runs import run_lines
from .recorder import Recorder
from .run_journal import RunFacts, RunJournal

logger = logging.getLogger(__name__)

#: Errors of an input that are told one by one.
_TOLD = 20
#: Between reports of how far it is.
_REPORT_S = 10.0


class Summary(NamedTuple):
    """Lines that were answered, and that failed, in all runs; done_before: in earlier ones."""

    answered: int
    failed: int
    done_before: int


@dataclass(frozen=True)
class OfflineRun:
    """overwrite: begin anew, whatever is there."""

    input: Path
    output: Path
    rules: LineRules
    overwrite: bool = False

    @property
    def journal_path(self) -> Path:
        """Beside the output."""
        return self.output.with_name(f"{self.output.name}.journal")

    def open(self) -> RunJournal:
        """The journal of a run that can begin, or go on. Raises RequestError if the input is not
        good, or the output is of another, and OSError."""
        total = self._check()
        facts = RunFacts(self._digest(), self.rules.model)
        if self.output.exists() and not self.overwrite and not self.journal_path.exists():
            raise RequestError(
                f"{self.output} is there, and no run is known to have written it; name another "
                "output, or begin anew with --overwrite"
            )
        journal = RunJournal(self.journal_path)
        try:
            if self.overwrite:
                journal.forget()
            self._agree(journal, facts)
        except BaseException:
            journal.close()
            raise
        logger.info("%s: %d requests, %d of them done", self.input, total, len(journal.lines()))
        return journal

    def ended(self, journal: RunJournal) -> Summary | None:
        """What the output says, if an earlier run has written it."""
        facts = journal.facts
        if facts is None or facts.counts is None or not self.output.exists():
            return None
        answered, failed = facts.counts
        return Summary(answered, failed, answered + failed)

    async def run(
        self, journal: RunJournal, ask: Ask, alive: Callable[[], bool], max_lines: int
    ) -> Summary:
        """Answer what is left, and write the output. max_lines: that run at once."""
        done = await asyncio.to_thread(journal.lines)
        lines = (line for line in lines_of(self.input, self.rules) if line.number not in done)
        slots = asyncio.Semaphore(max_lines)
        async with Recorder(journal.keep) as recorder:
            reports = asyncio.ensure_future(_report(journal))
            try:
                await run_lines(lines, ask, recorder.keep, slots, alive)
            finally:
                reports.cancel()
        answered, failed = await asyncio.to_thread(self._write, journal)
        return Summary(answered, failed, len(done))

    def _write(self, journal: RunJournal) -> tuple[int, int]:
        path = str(self.output)
        counts = journal.count()
        with (
            replacing(path) as temporary,
            naming_file(path),
            FileIO(temporary, "w") as file,
        ):
            for record in journal.records():
                write_whole(file, record.data + b"\n")
            os.fsync(file.fileno())
        sync_folder(os.path.dirname(path))
        journal.end(RunFacts(self._digest(), self.rules.model, counts))
        return counts

    def _check(self) -> int:
        if self.output.resolve() == self.input.resolve():
            raise RequestError(f"{self.output} can't be input and output in one")
        checked = check_file(self.input, self.rules)
        if checked.errors:
            told = [
                f"line {e.line}: {e.message}" if e.line else e.message
                for e in checked.errors[:_TOLD]
            ]
            rest = "; and others" if len(checked.errors) > _TOLD else ""
            raise RequestError(f"{self.input}: {'; '.join(told)}{rest}")
        return checked.total

    def _digest(self) -> str:
        with open(self.input, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _agree(self, journal: RunJournal, facts: RunFacts) -> None:
        known = journal.facts
        if known is None:
            journal.begin(facts)
        elif (known.digest, known.model) != (facts.digest, facts.model):
            was = "input" if known.digest != facts.digest else f"model, {known.model!r}"
            raise RequestError(
                f"{self.output} is of another {was}; name another output, or begin anew with "
                "--overwrite"
            )


async def _report(journal: RunJournal) -> None:
    started = time.monotonic()
    while True:
        await asyncio.sleep(_REPORT_S)
        answered, failed = await asyncio.to_thread(journal.count)
        seconds = time.monotonic() - started
        logger.info("%d answered, %d failed, after %.0f s", answered, failed, seconds)
