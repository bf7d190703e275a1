"""Whose files are on the disk. They go when their visitor does; Gradio's `delete_cache`, which goes
by age, is for those whose visitor could not be seen to leave."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

#: As Gradio's Request.session_hash; None of who comes without a browser.
Session = str | None


class Visits:
    """Files have names by their content, so one may be of several visitors.

    folder: where Gradio keeps what is dropped on the page; its environment variable's if None.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._files: dict[Session, set[Path]] = {}
        self._at_end: dict[Session, set[Callable[[], object]]] = defaultdict(set)

    def begin(self, session: Session) -> None:
        """Somebody has opened the page."""
        self._files.setdefault(session, set())

    def keep(self, session: Session, paths: Iterable[str | Path]) -> None:
        """These files until the visit ends, or until they are dropped."""
        self._files.setdefault(session, set()).update(map(Path, paths))

    def at_end(self, session: Session, call: Callable[[], object]) -> None:
        """Call it when the visit ends, once."""
        self._at_end[session].add(call)

    def drop(self, session: Session, paths: Iterable[str | Path]) -> None:
        """These files, unless another visitor has them too."""
        mine = self._files.get(session, set())
        gone = mine & set(map(Path, paths))
        mine -= gone
        self._delete(gone)

    def end(self, session: Session) -> None:
        """Delete what was of this visitor alone, and after the last one all there is: what was
        dropped on the page and never sent is known to be nobody's only then."""
        for call in self._at_end.pop(session, ()):
            call()
        self._delete(self._files.pop(session, set()))
        if not self._files:
            self._delete_all()

    def _delete(self, paths: Iterable[Path]) -> None:
        kept = set().union(*self._files.values())
        for path in set(paths) - kept:
            if self._root() not in path.parents:
                continue
            path.unlink(missing_ok=True)
            if path.parent != self._root() and not any(path.parent.iterdir()):
                path.parent.rmdir()

    def _delete_all(self) -> None:
        for path in self._root().glob("*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _root(self) -> Path:
        return self._folder or Path(os.environ["GRADIO_TEMP_DIR"])


#: Those of this process.
VISITS = Visits()
