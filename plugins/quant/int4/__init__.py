"""Weights in 4 bits, a scale and a zero for each group of inputs."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, QuantSpec
from ....core.registry.hookspecs import hookimpl


@hookimpl
def octavo_register_quant(register: Callable[[QuantSpec], None]) -> None:
    """Register the method."""
    register(
        QuantSpec(
            name="int4", load=f"{__name__}.method:Int4Method", contract_version=CONTRACT_VERSION
        )
    )
