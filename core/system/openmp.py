"""Waiting of OpenMP's threads. To be set before torch is imported."""

from __future__ import annotations

import os

#: Rounds of a waiting loop before a thread sleeps; some microseconds. GCC's own default is
#: 300,000, so that threads that have to share a core with anyone else keep each other from it.
_SPINS = "10000"


def limit_spinning() -> None:
    """Let waiting threads yield their core soon, unless the environment says otherwise."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
