"""A key as its file has it: a hash, and what its holder may."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Any

import msgspec

_NOBODY = "none"
_PREFIX = "sk-octavo-"
_KEY_BYTES = 32
_HASH = re.compile(r"[0-9a-f]{64}")
_LEAST_WEIGHT, _LARGEST_WEIGHT = 0.01, 100
_LIMITS = (
    *("requests_per_minute", "tokens_per_minute", "image_pixels_per_minute"),
    "concurrent_requests",
)
#: What can stand in metrics, logs and both kinds of file as it is.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class KeyEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """sha256: of the key's bytes, in hex. weight: of the holder's share of the engine. admin:
    whether the holder may read the metrics, which name all keys. The others are limits: None is
    without one."""

    sha256: str
    weight: float = 1.0
    admin: bool = False
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    image_pixels_per_minute: int | None = None
    concurrent_requests: int | None = None

    def __post_init__(self) -> None:
        if _HASH.fullmatch(self.sha256) is None:
            raise ValueError(
                "sha256 must be 64 digits of 0 to 9 and a to f, as octavo keys new prints them"
            )
        for limit in _LIMITS:
            value = getattr(self, limit)
            if value is not None and value < 1:
                raise ValueError(f"{limit} must be at least 1, got {value}; leave it out for none")
        if not _LEAST_WEIGHT <= self.weight <= _LARGEST_WEIGHT:
            raise ValueError(
                f"weight must be from {_LEAST_WEIGHT} to {_LARGEST_WEIGHT}, got {self.weight:g}"
            )


def new_key() -> str:
    """A key that nobody guesses: 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def hash_of(key: str) -> str:
    """What a file has of it. A plain hash will do, as keys are random and long."""
    return hashlib.sha256(key.encode()).hexdigest()


def check_name(name: str) -> None:
    """Raises ValueError for one that an entry can't have."""
    if _NAME.fullmatch(name) is None:
        raise ValueError(
            f"a key's name must have 1 to 64 letters, digits, hyphens and underscores, and begin "
            f"with a letter or a digit, got {name[:100]!r}"
        )
    if name == _NOBODY:
        raise ValueError(f"{_NOBODY} is what metrics call those without a key; choose another name")


def entry_from(fields: Any) -> KeyEntry:
    """Raises ValueError, which names the field at fault."""
    try:
        return msgspec.convert(fields, KeyEntry)
    except msgspec.ValidationError as error:
        text = str(error)
        # Of a field: "Expected `float`, got `str` - at `$.weight`".
        what, _, where = text.partition(" - at `$.")
        raise ValueError(f"{where[:-1]}: {what}" if where else text) from error
