"""Checkpoints that AWQ made smaller (arXiv:2306.00978)."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, QuantSpec
from ....core.registry.hookspecs import hookimpl


@hookimpl
def octavo_register_quant(register: Callable[[QuantSpec], None]) -> None:
    """Register the method."""
    register(
        QuantSpec(
            name="awq", load=f"{__name__}.method:AwqMethod", contract_version=CONTRACT_VERSION
        )
    )
