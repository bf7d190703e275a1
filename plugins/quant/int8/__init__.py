"""Weights in 8 bits, a scale for each output channel."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, QuantSpec
from ....core.registry.hookspecs import hookimpl


@hookimpl
def octavo_register_quant(register: Callable[[QuantSpec], None]) -> None:
    """Register the method."""
    register(
        QuantSpec(
            name="int8", load=f"{__name__}.method:Int8Method", contract_version=CONTRACT_VERSION
        )
    )
