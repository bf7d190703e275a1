"""Grammars by llguidance: JSON Schema, regular expressions, choices and context-free grammars."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, GrammarSpec
from ....core.registry.hookspecs import hookimpl


@hookimpl
def octavo_register_grammars(register: Callable[[GrammarSpec], None]) -> None:
    """Register the backend."""
    register(
        GrammarSpec(
            name="llguidance",
            load=f"{__name__}.backend:LLGuidanceBackend",
            contract_version=CONTRACT_VERSION,
        )
    )
