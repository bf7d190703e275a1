"""Checkpoints that LLM Compressor and others store as compressed-tensors."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, QuantSpec
from ....core.registry.hookspecs import hookimpl


@hookimpl
def octavo_register_quant(register: Callable[[QuantSpec], None]) -> None:
    """Register the method."""
    register(
        QuantSpec(
            name="compressed-tensors",
            load=f"{__name__}.method:CompressedTensorsMethod",
            contract_version=CONTRACT_VERSION,
        )
    )
