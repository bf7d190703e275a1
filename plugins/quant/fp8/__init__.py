"""Checkpoints in float8 with a scale for each block, as DeepSeek has them (arXiv:2412.19437)."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, QuantSpec
from ....core.registry.hookspecs import hookimpl


@hookimpl
def octavo_register_quant(register: Callable[[QuantSpec], None]) -> None:
    """Register the method."""
    register(
        QuantSpec(
            name="fp8", load=f"{__name__}.method:Fp8Method", contract_version=CONTRACT_VERSION
        )
    )
