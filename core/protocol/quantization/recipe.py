"""Which quantisation method each layer gets: rules in an order, of which the first that matches a
layer's name decides."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from ..setting import ConfigError

#: The method that leaves layers as they are.
NONE = "none"
_EVERY = "*"
#: Names that stand for what models call otherwise.
_ALIASES = {"head": "lm_head", "embeddings": "embed_tokens"}
_WILDCARDS = frozenset("*?[")


@dataclass(frozen=True)
class Rule:
    """match: a pattern of layers' names, as fnmatch knows them. method: a quantisation method's
    name, or "none"."""

    match: str
    method: str

    def __post_init__(self) -> None:
        """Raises ConfigError."""
        for part in (self.match, self.method):
            if not part or any(letter in "=," or letter.isspace() for letter in part):
                raise ConfigError(f"{str(self)!r} is no rule of the form pattern=method")

    def __str__(self) -> str:
        return f"{self.match}={self.method}"

    @property
    def names_layer(self) -> bool:
        """Whether the last part of the pattern is a name rather than a wildcard."""
        return not _WILDCARDS & set(self._pattern.rpartition(".")[2])

    def matches(self, name: str) -> bool:
        """Whether the pattern is that of a name, or of what follows a dot in it."""
        return fnmatchcase(name, self._pattern) or fnmatchcase(name, f"*.{self._pattern}")

    def matches_within(self, name: str) -> bool:
        """Whether the pattern is that of a whole name, and begins with the same part."""
        same = self._pattern.partition(".")[0] == name.partition(".")[0]
        return same and fnmatchcase(name, self._pattern)

    @property
    def _pattern(self) -> str:
        return _ALIASES.get(self.match, self.match)


@dataclass(frozen=True)
class Recipe:
    """Rules, the first of which goes first; layers that none matches stay as they are."""

    rules: tuple[Rule, ...]

    @classmethod
    def of(cls, text: str) -> Recipe:
        """Of a method's name, which is for every layer, or rules with commas between them. Raises
        ConfigError for anything else."""
        if "=" not in text:
            return cls((Rule(_EVERY, text),))
        rules = []
        for part in text.split(","):
            match, _, method = part.strip().rpartition("=")
            rules.append(Rule(match.strip(), method.strip()))
        return cls(tuple(rules))

    def __str__(self) -> str:
        """As `of` reads it."""
        if self.is_plain:
            return self.rules[0].method
        return ",".join(map(str, self.rules))

    @property
    def is_plain(self) -> bool:
        """Whether it is one method for every layer."""
        return [rule.match for rule in self.rules] == [_EVERY]

    @property
    def methods(self) -> list[str]:
        """Names of the methods, each once, without "none"."""
        return [m for m in dict.fromkeys(rule.method for rule in self.rules) if m != NONE]
