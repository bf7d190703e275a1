"""Checkpoints that GPTQ made smaller (arXiv:2210.17323)."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, QuantSpec
from ....core.registry.hookspecs import hookimpl


@hookimpl
def octavo_register_quant(register: Callable[[QuantSpec], None]) -> None:
    """Register the method."""
    register(
        QuantSpec(
            name="gptq",
            load=f"{__name__}.method:GptqMethod",
            contract_version=CONTRACT_VERSION,
            held=f"{__name__}.held:held_bytes",
        )
    )
