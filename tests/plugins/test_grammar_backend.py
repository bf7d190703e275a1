"""The grammar backend of docs/plugins.md, as a package of one's own would bring it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import octavo
import pytest
from octavo import LLM, RequestError, SamplingParams, StructuredOutputsParams
from octavo.app.conformance.check import check_plugin
from octavo.core.contracts.specs import GrammarSpec
from octavo.core.protocol.config import ConfigError
from octavo.core.registry.registry import get_registry

DOCS = Path(octavo.__file__).parent / "docs" / "plugins.md"


@pytest.fixture
def literal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code of the page, registered."""
    code = re.search(r"```python\n(# my_plugin/literal.py\n.*?)```", DOCS.read_text(), re.DOTALL)
    assert code is not None
    module = ModuleType("my_plugin_literal")
    exec(code[1], module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    spec = GrammarSpec(name="literal", load="my_plugin_literal:Literal")
    monkeypatch.setitem(get_registry().grammars, "literal", spec)


@pytest.mark.usefixtures("literal")
def test_a_backend_of_one_s_own() -> None:
    with LLM(structured_outputs_backend="literal", kv_cache_memory=2**24) as llm:
        texts = ("a cat", "a cat sits", "a dog")
        form = StructuredOutputsParams(choice=texts)
        params = SamplingParams(structured_outputs=form, temperature=2, seed=1, n=4, max_tokens=30)
        (output,) = llm.generate("Hello", params)
        assert {answer.text for answer in output.outputs} <= set(texts)
        assert {answer.finish_reason for answer in output.outputs} == {"stop"}
        params = SamplingParams(structured_outputs=StructuredOutputsParams(regex="a"))
        with pytest.raises(RequestError, match="regex is not honoured, only choice") as raised:
            llm.generate("Hello", params)
        assert raised.value.param == "structured_outputs.regex"


def test_a_backend_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="backend 'zzz'; installed: llguidance"):
        LLM(structured_outputs_backend="zzz")


def test_the_built_in_one_conforms() -> None:
    registry = get_registry()
    owner = registry.owners["grammars", "llguidance"]
    (plugin,) = (p for p in registry.plugins if p.name == owner)
    findings = list(check_plugin(plugin, registry))
    assert len(findings) > 1
    assert {finding.result for finding in findings} == {"ok"}
