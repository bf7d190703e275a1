"""How many files a process may have open."""

from __future__ import annotations

import resource

#: Connections and images on their way take one each; a shell's usual limit is 1,024.
_ENOUGH = 65_536


def raise_descriptor_limit() -> None:
    """As many as the system lets this process and its children have, up to 65,536."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
