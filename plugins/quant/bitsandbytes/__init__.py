"""Checkpoints that bitsandbytes made smaller (arXiv:2208.07339, arXiv:2305.14314)."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, QuantSpec
from ....core.registry.hookspecs import hookimpl


@hookimpl
def octavo_register_quant(register: Callable[[QuantSpec], None]) -> None:
    """Register the method."""
    register(
        QuantSpec(
            name="bitsandbytes",
            load=f"{__name__}.method:BitsAndBytesMethod",
            contract_version=CONTRACT_VERSION,
            held=f"{__name__}.held:held_bytes",
        )
    )
