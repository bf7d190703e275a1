"""What the docs name is there: files, floors, and plugins that register as they are printed."""

from __future__ import annotations

import re
from collections import defaultdict
from importlib.metadata import EntryPoint
from pathlib import Path

import octavo
import pytest
from octavo.core.contracts.specs import load_object
from octavo.core.registry.registry import Registry, load_registry

ROOT = Path(octavo.__file__).parent
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
#: Written in backticks, from the root on; NAME stands for one that the reader chooses.
TOP = r"(?:app|bench|core|docs|examples|kernels|plugins?|scripts|tests)/"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_pages_name_are_there(page: Path) -> None:
    text = page.read_text()
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    links += re.findall(r'\bsrc(?:set)?="(?!https?:)([^"]+)"', text)
    paths = re.findall(rf"`({TOP}[\w./-]*)`", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    missing += [path for path in paths if "NAME" not in path and not (ROOT / path).exists()]
    assert not missing


def test_screenshots_are_shown_and_small() -> None:
    shots = sorted((ROOT / "docs" / "page").iterdir())
    text = (ROOT / "docs" / "page.md").read_text()
    assert {f"page/{path.name}" for path in shots} == set(re.findall(r'"(page/[^"]+)"', text))
    assert sum(path.stat().st_size for path in shots) < 1.5 * 2**20


def test_the_page_on_architecture_has_all_floors_in_their_order() -> None:
    guard = (ROOT / "tests" / "test_structure.py").read_text()
    listed = guard.partition("FLOORS = (")[2].partition("\n)")[0]
    floors = re.findall(r'^    "([\w.]+)",$', listed, re.MULTILINE)
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = page.partition("## Floors")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    shown = [path for cell in cells for path in re.findall(r"`([\w/]+?)/?(?:\.py)?`", cell)]
    assert [path.replace("/", ".") for path in shown] == floors


@pytest.fixture
def printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """What the package registers whose files docs/plugins.md prints, in pieces."""
    files: dict[str, str] = defaultdict(str)
    page = (ROOT / "docs" / "plugins.md").read_text()
    for name, code in re.findall(r"```python\n# my_plugin/(\w+\.py)\n(.*?)```", page, re.DOTALL):
        files[name] += code
    folder = tmp_path / "printed_plugin"
    folder.mkdir()
    for name, code in files.items():
        (folder / name).write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    return load_registry([EntryPoint("mine", "printed_plugin", "octavo")])


def test_printed_plugins_register_and_their_code_can_be_imported(printed: Registry) -> None:
    assert [plugin.error for plugin in printed.plugins] == [None]
    kinds = {kind for kind, _ in printed.owners}
    assert kinds == {
        "models",
        "encoders",
        "quants",
        "kernels",
        "logits_processors",
        "grammars",
        "encoder_stores",
    }
    for kind, name in printed.owners:
        assert load_object(getattr(printed, kind)[name].load)
    hooks = printed.hooks.hook
    assert hooks.octavo_request_received.get_hookimpls()
    assert hooks.octavo_request_finished.get_hookimpls()
