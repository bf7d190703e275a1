"""Files of llama.cpp, whose layers stay as small as they are."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, QuantSpec
from ....core.registry.hookspecs import hookimpl


@hookimpl
def octavo_register_quant(register: Callable[[QuantSpec], None]) -> None:
    """Register the method."""
    register(
        QuantSpec(
            name="gguf",
            load=f"{__name__}.method:GgufMethod",
            contract_version=CONTRACT_VERSION,
            held=f"{__name__}.held:held_bytes",
        )
    )
