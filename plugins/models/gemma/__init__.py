"""Gemma, Gemma 2 and the text models of Gemma 3."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, ModelSpec
from ....core.registry.hookspecs import hookimpl


@hookimpl
def octavo_register_models(register: Callable[[ModelSpec], None]) -> None:
    """Register each generation."""
    for name, architecture, model_type in (
        ("gemma", "GemmaForCausalLM", "gemma"),
        ("gemma2", "Gemma2ForCausalLM", "gemma2"),
        ("gemma3-text", "Gemma3ForCausalLM", "gemma3_text"),
    ):
        register(
            ModelSpec(
                name=name,
                architectures=(architecture,),
                model_types=(model_type,),
                load=f"{__name__}.model:{architecture}",
                contract_version=CONTRACT_VERSION,
            )
        )
