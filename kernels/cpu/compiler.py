"""Compilation of a folder of C++ sources into a shared library, by as many compilers at once as
there are processors."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from ..parent_death import TIE, tied_environment
from ..spec import KernelError
from .recipe import Recipe

#: Prefix of folders in which a compilation is under way.
BUILD_PREFIX = "build-"
TIMEOUT_SECONDS = 300
_COMPILERS = ("g++", "c++")
#: Disk space that a compilation may take temporarily.
_ROOM_BYTES = 64 * 2**20
_POLL_S = 0.02
_ERROR = re.compile(r"\berror\b|no space left", re.IGNORECASE)


class CompilerMissingError(KernelError):
    """There is no C++ compiler to build the kernels with."""


@cache
def find_compiler() -> tuple[str, str]:
    """The path of a GCC-compatible compiler, `CXX` first, and what it says of its version.

    Raises CompilerMissingError.
    """
    for name in filter(None, (os.environ.get("CXX"), *_COMPILERS)):
        path = shutil.which(name)
        if path is None:
            continue
        asked = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        # Clang brings an OpenMP runtime of its own, whose threads would fight with torch's.
        if asked.returncode == 0 and "clang" not in asked.stdout:
            return path, asked.stdout.splitlines()[0]
    raise CompilerMissingError("no GNU C++ compiler found; on Debian and Ubuntu: apt install g++")


def compilers_at_once() -> int:
    """How many compilers run at a time: one for each processor that this process may use."""
    return len(os.sched_getaffinity(0))


def compile_library(recipe: Recipe, compiler: str, library: Path) -> None:
    """Compile a recipe's .cpp files; the library is renamed into place, so that no process sees a
    part of it. On a terminal a line counts the files.

    Raises OSError if there is no room, and KernelError with the first error of the compiler.
    """
    with tempfile.TemporaryDirectory(dir=library.parent, prefix=BUILD_PREFIX) as folder:
        _check_room(folder)
        command = [*_tied(compiler), *recipe.flags]
        jobs, objects = [], []
        for source in sorted(recipe.sources.glob("*.cpp")):
            objects.append(f"{folder}/{source.stem}.o")
            jobs.append([*command, "-c", str(source), "-o", objects[-1]])
        built = f"{folder}/{library.name}"
        link = [*command, "-shared", *objects, "-o", built]
        try:
            with _counted(len(jobs)) as count:
                _run_all(jobs, folder, count)
                _run_all([link], folder)
        except _CompilerError as error:
            raise KernelError(f"{compiler} can't compile the {recipe.title}: {error}") from error
        os.replace(built, library)


class _CompilerError(Exception):
    """The first error that a compiler reported."""


def _check_room(folder: str) -> None:
    """Raises OSError if the disk is full: compilers take minutes to find out."""
    with tempfile.TemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, _ROOM_BYTES)


@contextmanager
def _counted(files: int) -> Iterator[Callable[[], None]]:
    """Counter of compiled files, to be called after each: a line on a terminal, gone at the end."""
    terminal = sys.stderr if sys.stderr is not None and sys.stderr.isatty() else None
    done = -1

    def count() -> None:
        nonlocal done
        done += 1
        if terminal:
            print(f"\r{done} of {files} files compiled", end="", file=terminal, flush=True)

    count()
    try:
        yield count
    finally:
        if terminal:
            print("\r\x1b[K", end="", file=terminal, flush=True)


def _tied(compiler: str) -> list[str]:
    """Command whose processes, the compiler's passes too, end when this process does."""
    # Words of the wrapper's command are separated by commas.
    parts = [] if any("," in part for part in TIE) else ["-wrapper", ",".join(TIE)]
    return [*TIE, compiler, *parts]


def _run_all(
    jobs: Sequence[Sequence[str]], temporary: str, count: Callable[[], None] | None = None
) -> None:
    """Run jobs, some at a time, until all have ended well or one fails. temporary: folder for the
    compilers' own files and what they say."""
    environment = {
        **tied_environment(),
        "TMPDIR": temporary,
        "LC_ALL": "C",  # errors are found by their English words
    }
    deadline = time.monotonic() + TIMEOUT_SECONDS
    waiting, running = list(jobs), list[tuple[subprocess.Popen[bytes], Path]]()
    try:
        while waiting or running:
            while waiting and len(running) < compilers_at_once():
                said = Path(temporary) / f"said-{len(waiting)}"
                with said.open("wb") as file:
                    started = subprocess.Popen(
                        waiting.pop(0), stdout=file, stderr=subprocess.STDOUT, env=environment
                    )
                running.append((started, said))
            time.sleep(_POLL_S)
            for process, said in [job for job in running if job[0].poll() is not None]:
                running.remove((process, said))
                if process.returncode:
                    raise _CompilerError(_first_error(said, process.returncode))
                if count:
                    count()
            if time.monotonic() > deadline:
                raise _CompilerError(f"it took longer than {TIMEOUT_SECONDS} s")
    finally:
        for process, _ in running:
            process.kill()
            process.wait()


def _first_error(said: Path, status: int) -> str:
    lines = [line.strip() for line in said.read_text(errors="replace").splitlines()]
    errors = [line for line in lines if _ERROR.search(line)] or list(filter(None, lines))
    return errors[0] if errors else f"it ended with status {status} and said nothing"
