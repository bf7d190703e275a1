"""A package written before `octavo.plugin` is found where it was, with a warning."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import octavo
import pytest
from octavo.core.contracts.specs import RepeatedPlaceholder, load_object
from octavo.core.registry.registry import load_registry
from octavo.plugin.images import PatchPreprocessor

SOURCE = Path(octavo.__file__).parent / "examples" / "octavo-plugin-example"
NEW = "from octavo.plugin import EncoderExample, EncoderSpec, ModelSpec, QuantSpec, hookimpl\n"
OLD = """from octavo.core.contracts import EncoderExample, EncoderSpec, ModelSpec, QuantSpec
from octavo.core.hookspecs import hookimpl
"""
#: By file, what each import of the example was before.
MOVED = {
    "__init__.py": {NEW: OLD, "octavo.plugin:": "octavo.core.contracts:"},
    "model.py": {"octavo.plugin.layers": "octavo.core.layers.vision_language"},
    "preprocessor.py": {"octavo.plugin.images": "octavo.core.media.preprocess"},
}


def test_the_example_of_before_still_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "example_of_before"
    package.mkdir()
    for file in (SOURCE / "octavo_plugin_example").glob("*.py"):
        source = file.read_text()
        for new, old in MOVED.get(file.name, {}).items():
            assert new in source
            source = source.replace(new, old)
        assert "octavo.plugin" not in source
        (package / file.name).write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = EntryPoint("before", package.name, "octavo")
    with pytest.warns(DeprecationWarning, match="has moved: import it from octavo") as warned:
        registry = load_registry([entry])
    assert registry.plugins[0].error is None
    texts = {str(warning.message) for warning in warned}
    assert "octavo.core.hookspecs.hookimpl has moved: import it from octavo.plugin" in texts
    model, encoder = registry.models["lite-vlm"], registry.encoders["efficientnet-lite0"]
    assert load_object(model.load).__name__ == "LiteVlmForConditionalGeneration"
    assert issubclass(load_object(encoder.preprocessor), PatchPreprocessor)
    with pytest.warns(DeprecationWarning, match=r"import it from octavo\.plugin"):
        assert load_object(str(model.image_prompt)) is RepeatedPlaceholder
    for name in [name for name in sys.modules if name.startswith(package.name)]:
        del sys.modules[name]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        load_object("octavo.core.contracts:nothing")
