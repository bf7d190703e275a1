"""Writes what came of pictures: into the journal, then into the outputs."""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from msgspec.structs import replace

from .entries import entry_like, entry_of, row_of
from .journal import Entry, Journal, Written, key_of
from .outputs.row import Row
from .outputs.sink import Sink
from .picture import NotAPictureError, Picture, PictureError, printable
from .prompts.prompt_set import PromptSet
from .repeats import Repeats
from .task import Captioned, Failed, Outcome, Repeated

#: Between two commits, so that each has as many rows as came meanwhile, and disks rest.
_PAUSE_S = 0.1
_MAX_BATCH = 1000
#: Whose files are in memory at once.
_MAX_BATCH_WITH_CONTENT = 16
#: More than are between being read and being written.
_NUM_RECENT = 4096


@dataclass(frozen=True)
class Output:
    """name: in the journal. takes: which rows. show: how it writes names."""

    name: str
    sink: Sink
    takes: Literal["all", "captioned", "failed"]
    show: Callable[[str], str]

    def rows(self, kept: Sequence[_Kept]) -> list[Row]:
        """Of entries, those that it takes."""
        wanted = {"all": (True, False), "captioned": (False,), "failed": (True,)}[self.takes]
        return [row_of(k.entry, self.show, k.content) for k in kept if k.failed in wanted]


@dataclass(frozen=True)
class _Kept:
    entry: Entry
    content: bytes | None = None

    @property
    def failed(self) -> bool:
        return self.entry.error is not None


def _without_content(outcome: Outcome) -> Outcome:
    """Many wait, where a disk is slow."""
    if isinstance(outcome, Captioned | Failed) and outcome.task is not None:
        return dataclasses.replace(outcome, task=dataclasses.replace(outcome.task, content=b""))
    return outcome


class Recorder:
    """From `begin` to `close`, a thread of its own writes; so no answer waits for a disk.

    A batch is kept by the journal before the outputs have it, and that they have it, afterwards;
    so a run that goes on writes what is missing, at the places that the journal tells.

    read: the bytes of a picture's file, for outputs that take them. on_written: is told of each
    batch, by that thread: the entries, and names of pictures that were written before.
    """

    def __init__(
        self,
        journal: Journal,
        outputs: Sequence[Output],
        prompts: PromptSet,
        repeats: Repeats,
        read: Callable[[Picture], bytes],
        on_written: Callable[[Sequence[Entry], Sequence[str]], None],
    ) -> None:
        self._journal = journal
        self._outputs = outputs
        self._prompts = prompts
        self._repeats = repeats
        self._read = read
        self._on_written = on_written
        self._takes_content = any(output.sink.takes_content for output in outputs)
        self._queue: queue.Queue[Outcome | None] = queue.Queue(_MAX_BATCH)
        self._waiting: dict[bytes, list[Repeated]] = {}
        self._recent: OrderedDict[bytes, Entry] = OrderedDict()
        self._written = Written(0)
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="octavo-recorder", daemon=True)
        self.error: Exception | None = None

    def begin(self, header: dict[str, Any] | None) -> None:
        """Bring the outputs to where the journal is, and start. Raises OSError or RequestError."""
        if self._takes_content:
            self._journal.forget_unwritten()
        known = self._journal.written
        positions, last = {}, known.last
        for output in self._outputs:
            position = known.positions.get(output.name)
            after = 0 if position is None else known.last
            if position is None:
                position = self._journal.origin(output.name)
            positions[output.name] = output.sink.begin(position, header)
            for page in self._journal.pages(after):
                rows = output.rows([_Kept(entry) for _, entry in page])
                positions[output.name] = output.sink.write(rows)
                last = max(last, page[-1][0])
        self._written = Written(last, positions)
        self._journal.keep_written(self._written)
        self._thread.start()

    def put(self, outcome: Outcome) -> None:
        """Have it written soon. Raises what keeps it from being."""
        self._put(_without_content(outcome))
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """Write all that was put, and close the outputs. Raises what kept it from being written;
        what the journal has is written by the next run."""
        self._put(None)
        self._thread.join()
        with contextlib.ExitStack() as stack:
            if self.error is not None:
                # It says more than what closing an output may raise now.
                stack.callback(self._raise_error)
                stack.enter_context(contextlib.suppress(OSError))
            for output in self._outputs:
                stack.callback(output.sink.finish, partial(self._all_rows, output))

    def _raise_error(self) -> None:
        assert self.error is not None
        raise self.error

    def _put(self, outcome: Outcome | None) -> None:
        while self.error is None:
            try:
                return self._queue.put(outcome, timeout=1)
            except queue.Full:
                continue

    def _all_rows(self, output: Output) -> Iterator[Row]:
        for page in self._journal.pages():
            yield from output.rows([_Kept(entry) for _, entry in page])

    def _run(self) -> None:
        try:
            while batch := self._next_batch():
                self._write(batch)
                time.sleep(_PAUSE_S)
            self._journal.keep_written(self._written)
        except Exception as error:  # noqa: BLE001 - whoever puts is told
            self.error = error

    def _next_batch(self) -> list[Outcome]:
        """All that there is; empty at the end."""
        batch: list[Outcome] = []
        most = _MAX_BATCH_WITH_CONTENT if self._takes_content else _MAX_BATCH
        while not self._ended and len(batch) < most:
            try:
                outcome = self._queue.get(block=not batch)
            except queue.Empty:
                break
            if outcome is None:
                self._ended = True
            else:
                batch.append(outcome)
        return batch

    def _write(self, batch: Sequence[Outcome]) -> None:
        kept = [found for outcome in batch for found in self._resolve(outcome)]
        pictures = [picture for picture, _ in kept]
        entries = [(key_of(picture), k.entry) for picture, k in kept]
        numbers = self._journal.add(entries, self._written)
        new = [k for (_, k), number in zip(kept, numbers, strict=True) if number]
        positions = dict(self._written.positions)
        for output in self._outputs:
            positions[output.name] = output.sink.write(output.rows(new))
        self._written = Written(max([self._written.last, *numbers]), positions)
        for _, entry in entries:
            if entry.asked is not None:
                self._repeats.settle(entry.asked)
        again = [p.name for p, number in zip(pictures, numbers, strict=True) if not number]
        self._on_written([k.entry for k in new], again)

    def _resolve(self, outcome: Outcome) -> Iterator[tuple[Picture, _Kept]]:
        """What is to be kept now."""
        if isinstance(outcome, Repeated):
            yield from self._take_over(outcome)
        elif isinstance(outcome, Captioned | Failed):
            entry = entry_of(outcome, self._prompts)
            yield self._kept(outcome.picture, entry)
            if entry.asked is not None:
                self._remember(entry.asked, entry)
                for repeated in self._waiting.pop(entry.asked, ()):
                    yield self._kept(repeated.picture, entry_like(repeated, entry))

    def _take_over(self, repeated: Repeated) -> Iterator[tuple[Picture, _Kept]]:
        other = repeated.known or self._recent.get(repeated.asked)
        if other is None:  # of the two, the later has been read first
            self._waiting.setdefault(repeated.asked, []).append(repeated)
        else:
            yield self._kept(repeated.picture, entry_like(repeated, other))

    def _remember(self, asked: bytes, entry: Entry) -> None:
        """Those that failed, too, as long as others may wait for them."""
        self._recent[asked] = entry
        if len(self._recent) > _NUM_RECENT:
            self._recent.popitem(last=False)

    def _kept(self, picture: Picture, entry: Entry) -> tuple[Picture, _Kept]:
        if not self._takes_content or entry.error is not None:
            return picture, _Kept(entry)
        try:
            return picture, _Kept(entry, self._read(picture))
        except (PictureError, NotAPictureError) as error:  # it is not there any more
            return picture, _Kept(replace(entry, texts={}, error=printable(str(error))))
