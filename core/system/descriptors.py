"""Limit of open files."""

from __future__ import annotations

import resource

#: Connections and images on their way take one each; a shell's usual limit is 1,024.
_ENOUGH = 65_536


def raise_descriptor_limit() -> None:
    """Raise this process's limit, and its children's, as far as the system allows, up to 65,536."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
