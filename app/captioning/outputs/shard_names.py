"""How samples of WebDataset shards are called."""

from __future__ import annotations

import os
import re

from .picture_format import PICTURE_ENDINGS

_CONTROL_CHARACTERS = re.compile(r"[\0-\x1f\x7f]")


class SampleKeys:
    """Keys of the samples in a shard: the picture's name without its ending.

    WebDataset splits a member's name at the first dot behind the last slash, takes what is before
    it for the key, and gathers members of one key, one after another, into a sample. So a key has
    folders, no dot in its last part, and is of one sample only.
    """

    def __init__(self) -> None:
        self._samples: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, key: str) -> None:
        """One that is in the shard already."""
        self._samples.setdefault(key, 1)

    def make(self, name: str) -> str:
        """For a picture's name. "-2" and so on tells apart those that would have the same key,
        such as of a.jpg and a.png."""
        first = key = _key(name)
        while key in self._samples:
            self._samples[first] += 1
            key = f"{first}-{self._samples[first]}"
        self._samples[key] = 1
        return key


def _key(name: str) -> str:
    # Names that begin with a slash or .. would be written outside the folder that a shard is
    # unpacked in, and WebDataset skips members in __folders__ and those with newlines.
    name = _CONTROL_CHARACTERS.sub("_", name)
    *folders, last = [part for part in name.split("/") if part not in ("", ".", "..")] or ["_"]
    stem, ending = os.path.splitext(last)
    last = (stem if ending.lower() in PICTURE_ENDINGS else last).replace(".", "_")
    key = "/".join([*folders, last])
    return key.lstrip("_") or "_" if key.startswith("__") else key
