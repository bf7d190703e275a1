"""Which picture has the files that it would share with others, such as a.txt of a.jpg and a.png."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from .picture_format import PICTURE_ENDINGS
from .sidecar_kinds import SidecarKind

MAX_CLAIMS = 10_000


class SidecarClaims:
    """The first picture that asks has them. So many of the last claims are kept, that a job of any
    size takes no more memory: pictures that share files mostly come close to each other, as they
    are sorted. Those further apart are found once the file is there, by looking for pictures of
    the job beside it, with any of the usual endings. Several threads may ask."""

    def __init__(self, is_ours: Callable[[str], bool]) -> None:
        """is_ours: see OutputOptions."""
        self._is_ours = is_ours
        self._pictures: OrderedDict[str, str] = OrderedDict()
        self._lock = Lock()

    def claim(self, picture: str) -> str | None:
        """The other picture that has claimed them, if there is one."""
        stem = SidecarKind.stem(picture)
        with self._lock:
            owner = self._pictures.setdefault(stem, picture)
            self._pictures.move_to_end(stem)
            if len(self._pictures) > MAX_CLAIMS:
                self._pictures.popitem(last=False)
        return owner if owner != picture else None

    def writer(self, picture: str) -> str | None:
        """The other picture whose files the job has written, if there is one."""
        stem = SidecarKind.stem(picture)
        for ending in PICTURE_ENDINGS:
            for other in (stem + ending, stem + ending.upper()):
                if other != picture and os.path.exists(other) and self._is_ours(other):
                    return other
        return None
