"""The layout that the design asks for: packages listed, imports one way."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import octavo

ROOT = Path(octavo.__file__).parent
PARTS = ("app", "bench", "core", "kernels", "plugins")
MAY_IMPORT = {
    "kernels": {"kernels"},
    "core": {"core", "kernels"},
    "plugins": {"plugins", "core", "kernels"},
    "app": {"app", "core"},
}
PLUGINS_MAY_IMPORT = ("core.contracts.specs", "core.contracts.interfaces", "core.registry.hookspecs", "core.layers",
                      "core.media.preprocess", "kernels")  # fmt: skip


def modules() -> Iterator[Path]:
    for part in PARTS:
        yield from (path.relative_to(ROOT) for path in (ROOT / part).rglob("*.py"))


def relative_imports(path: Path) -> Iterator[str]:
    """Dotted targets of relative imports, from the package's root."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parts[: len(path.parts) - node.level]
            yield ".".join((*base, node.module)) if node.module else ".".join(base)
        elif isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith("octavo"), f"{path}: use relative imports"


def test_every_package_is_listed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {".".join(("octavo", *path.parent.parts)) for path in modules()}
    assert set(settings["packages"]) == {"octavo", *folders}


def test_imports_run_one_way() -> None:
    for path in modules():
        for target in relative_imports(path):
            part = target.split(".")[0]
            if part in PARTS:
                assert part in MAY_IMPORT[path.parts[0]], f"{path} imports {target}"


def test_plugins_import_only_the_contract_and_themselves() -> None:
    for path in modules():
        if path.parts[0] == "plugins":
            own = ".".join(path.parts[:3])
            for target in relative_imports(path):
                assert target.startswith((own, *PLUGINS_MAY_IMPORT)), f"{path} imports {target}"
