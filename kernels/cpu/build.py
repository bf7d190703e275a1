"""Compiles the C++ sources once for a processor, and keeps the library in the user's cache."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

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
    # GCC 12 takes its own headers for AVX-512 to task.
    "-Wno-maybe-uninitialized",
)
_TIMEOUT_SECONDS = 300

_log = logging.getLogger(__name__)


class CompilerMissingError(KernelError):
    """There is no C++ compiler to build the kernels with."""


def build_library(isa: Isa, extra_flags: Sequence[str] = ()) -> Path:
    """The shared library for a level of instructions, compiled unless it is in the cache.

    Raises CompilerMissingError, or KernelError with what the compiler said.
    """
    flags = (*_FLAGS, *isa.flags, *extra_flags)
    compiler, version = find_compiler()
    library = cache_folder() / f"{_digest(flags, version)}-{isa.name}" / "octavo_cpu.so"
    if not library.exists():
        started = time.monotonic()
        _compile(compiler, flags, library)
        _log.info("compiled CPU kernels (%s) in %.1f s", isa.name, time.monotonic() - started)
    return library


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
    """Where compiled kernels are kept: `OCTAVO_KERNEL_CACHE`, or a folder in the user's cache."""
    given = os.environ.get("OCTAVO_KERNEL_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(base) / "octavo" / "kernels"


def _digest(flags: Sequence[str], version: str) -> str:
    """Of all that the library is made from."""
    digest = hashlib.sha256("\0".join((*flags, version)).encode())
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]


def _compile(compiler: str, flags: Sequence[str], library: Path) -> None:
    """All sources at once; the library appears whole or not at all, whoever else builds it."""
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        jobs, objects = [], []
        for source in sorted(SOURCES.glob("*.cpp")):
            objects.append(f"{folder}/{source.stem}.o")
            jobs.append([compiler, *flags, "-c", str(source), "-o", objects[-1]])
        _run_all(jobs)
        built = f"{folder}/{library.name}"
        _run_all([[compiler, *flags, "-shared", *objects, "-o", built]])
        os.replace(built, library)


def _run_all(jobs: Sequence[Sequence[str]]) -> None:
    running = [
        subprocess.Popen(job, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for job in jobs
    ]
    failures = []
    for process in running:
        output, _ = process.communicate(timeout=_TIMEOUT_SECONDS)
        if process.returncode:
            failures.append(output)
    if failures:
        raise KernelError("the CPU kernels did not compile:\n" + "\n".join(failures))
