"""Compilation of the C++ sources, once per processor, into the user's cache."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from .. import parent_death
from ..spec import KernelError
from .isa import Isa

SOURCES = Path(__file__).parent / "src"
_COMPILERS = ("g++", "c++")
_FLAGS = (
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-fopenmp",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-Wall",
    "-Wextra",
    # False -Wmaybe-uninitialized in GCC 12's AVX-512 headers.
    "-Wno-maybe-uninitialized",
)
_TIMEOUT_SECONDS = 300
#: Disk space that a compilation may take temporarily.
_ROOM_BYTES = 64 * 2**20
_LOCK_PAUSE_S = 0.05
_PREFIX = "build-"

#: Errors by library name: each operation asks for it again.
_failures: dict[str, str] = {}

_log = logging.getLogger(__name__)


class CompilerMissingError(KernelError):
    """There is no C++ compiler to build the kernels with."""


def build_library(isa: Isa, extra_flags: Sequence[str] = (), sources: Path = SOURCES) -> Path:
    """The shared library for a level of instructions, compiled unless it is in the cache or, where
    nothing can be written there, in a private folder for temporary files. sources: their folder.

    Raises CompilerMissingError, or KernelError with what the compiler said; the same again when
    asked again, as this process tries once.
    """
    flags = (*_FLAGS, *isa.flags, *extra_flags)
    compiler, version = find_compiler()
    name = f"{_digest(flags, version, sources)}-{isa.name}"
    if name in _failures:
        raise KernelError(_failures[name])
    try:
        return _find_or_build(name, isa, compiler, flags, sources)
    except KernelError as error:
        _failures[name] = str(error)
        raise


def _find_or_build(name: str, isa: Isa, compiler: str, flags: Sequence[str], sources: Path) -> Path:
    try:
        return _build_in(cache_folder() / name, isa, compiler, flags, sources)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        why = str(error)
    try:
        folder = _temporary_folder()
        _log.warning("compiled kernels can't be kept (%s); they go to %s", why, folder)
        return _build_in(folder / name, isa, compiler, flags, sources)
    except OSError as error:
        raise KernelError(
            f"there is nowhere to compile to ({why}; {error}); name a folder that can be written "
            "in OCTAVO_KERNEL_CACHE"
        ) from error


def _build_in(folder: Path, isa: Isa, compiler: str, flags: Sequence[str], sources: Path) -> Path:
    """Raises OSError if the folder can't be written or has no room, and KernelError."""
    library = folder / "octavo_cpu.so"
    if os.path.exists(library):
        return library
    folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder) as alone:
        if alone:  # leftovers of killed processes
            for left in folder.glob(f"{_PREFIX}*"):
                shutil.rmtree(left, ignore_errors=True)
        if not library.exists():
            started = time.monotonic()
            _compile(compiler, flags, sources, library)
            _log.info("compiled CPU kernels (%s) in %.1f s", isa.name, time.monotonic() - started)
    return library


@contextmanager
def _alone_in(folder: Path) -> Iterator[bool]:
    """Lock on a folder while a process compiles there; yields whether it is held. The wait has a
    limit, as the other process may hang; the lock of one that dies ends with it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield _lock(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    waiting = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not waiting:
                _log.info("another process compiles the CPU kernels; waiting for it")
            waiting = True
        except OSError:  # the file system has no locks
            return False
        else:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOCK_PAUSE_S)


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


def cache_folder() -> Path:
    """Folder of compiled kernels: `OCTAVO_KERNEL_CACHE`, or one in the user's cache."""
    given = os.environ.get("OCTAVO_KERNEL_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(base) / "octavo" / "kernels"


def _temporary_folder() -> Path:
    """Raises OSError if it is not ours alone: what lies in it is loaded as code."""
    folder = Path(tempfile.gettempdir()) / f"octavo-kernels-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise OSError(f"{folder} is not a folder that only this user can write")
    return folder


def _digest(flags: Sequence[str], version: str, sources: Path = SOURCES) -> str:
    """Hash of all inputs of the build: flags, compiler version and sources."""
    digest = hashlib.sha256("\0".join((*flags, version)).encode())
    for source in sorted(sources.iterdir()):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]


def _compile(compiler: str, flags: Sequence[str], sources: Path, library: Path) -> None:
    """Compile all sources in parallel; the library is renamed into place, so that no process sees a
    part of it."""
    with tempfile.TemporaryDirectory(dir=library.parent, prefix=_PREFIX) as folder:
        _check_room(folder)
        command = [*_tied(compiler), *flags]
        jobs, objects = [], []
        for source in sorted(sources.glob("*.cpp")):
            objects.append(f"{folder}/{source.stem}.o")
            jobs.append([*command, "-c", str(source), "-o", objects[-1]])
        _run_all(jobs, folder)
        built = f"{folder}/{library.name}"
        _run_all([[*command, "-shared", *objects, "-o", built]], folder)
        os.replace(built, library)


def _check_room(folder: str) -> None:
    """Raises OSError if the disk is full: compilers take minutes to find out."""
    with tempfile.TemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, _ROOM_BYTES)


def _tied(compiler: str) -> list[str]:
    """Command whose processes, the compiler's passes too, end when this process does."""
    tie = [sys.executable, "-IS", parent_death.__file__]
    # Words of the wrapper's command are separated by commas.
    parts = [] if any("," in part for part in tie) else ["-wrapper", ",".join(tie)]
    return [*tie, compiler, *parts]


def _run_all(jobs: Sequence[Sequence[str]], temporary: str) -> None:
    """Run jobs in parallel. temporary: folder for the compilers' own files. Raises KernelError with
    their output."""
    environment = {
        **os.environ,
        "TMPDIR": temporary,
        parent_death.PARENT_VARIABLE: str(os.getpid()),
    }
    running = [
        subprocess.Popen(
            job, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        for job in jobs
    ]
    failures = []
    try:
        for process in running:
            output, _ = process.communicate(timeout=_TIMEOUT_SECONDS)
            if process.returncode:
                failures.append(output)
    except subprocess.TimeoutExpired as error:
        raise KernelError(f"the CPU kernels did not compile within {_TIMEOUT_SECONDS} s") from error
    finally:
        for process in running:
            process.kill()  # nothing, where it has ended
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
    if failures:
        raise KernelError("the CPU kernels did not compile:\n" + "\n".join(failures))
