"""The layout: a folder is what runs where, and imports only what is below it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import octavo

ROOT = Path(octavo.__file__).parent
#: From the ground up. A folder within a floor belongs to it, unless it is one itself.
FLOORS = (
    "kernels",
    "core.system",
    # Old places, which forward.
    "core.hookspecs",
    "core.interfaces",
    "core.contracts",
    "core.protocol",
    "core.registry",
    "core.process",
    "core.layers",
    "core.media",
    "core.encoder_store",
    "core.checkpoints",
    "core.device",
    "core.quantization",
    "core.deploy",
    "core.models",
    "core.prompts",
    "core.observe",
    "core.media_pool",
    "core.engine.scheduling",
    "core.engine.execution",
    "core.engine",
    "core.auto_deploy",
    "core.client",
    "core.embedding",
    "plugin",
    "plugins",
    "app",
    "app.batches",
    "app.tenants",
    "app.serving",
    "app.http",
    "app.offline",
    "app.captioning",
    "app.quantize",
    "app.chat",
    "app.page",
    "app.verify",
    "app.conformance",
    "app.doctor",
    "app.cli",
    "bench",
)
MAX_FILES = 16
#: What may be imported without torch.
TORCHLESS = ("core.system", "core.protocol", "core.engine.scheduling")
PLUGINS_MAY_IMPORT = (
    "core.contracts",
    "core.registry.hookspecs",
    "core.layers",
    "core.media.preprocess",
    "kernels",
)


def modules() -> Iterator[str]:
    """Dotted, without the package's name."""
    for part in {floor.split(".")[0] for floor in FLOORS}:
        for path in (ROOT / part).rglob("*.py"):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(module: str) -> Iterator[str]:
    """The modules that a module imports, from anywhere in it."""
    path = ROOT.joinpath(*module.split("."))
    is_package = path.is_dir()
    path = path / "__init__.py" if is_package else path.with_suffix(".py")
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        assert node.level or not (node.module or "").startswith("octavo"), (
            f"{module}: use relative imports"
        )
        if node.level:
            parts = module.split(".")
            base = parts[: len(parts) - node.level + is_package]
            target = [*base, *(node.module.split(".") if node.module else [])]
            for name in node.names:
                is_module = ROOT.joinpath(*target, f"{name.name}.py").exists()
                yield ".".join([*target, name.name] if is_module else target)


def floor_of(module: str) -> str:
    found = [floor for floor in FLOORS if f"{module}.".startswith(f"{floor}.")]
    assert found or "." not in module, f"{module} is on no floor"
    return max(found, key=len, default="")


def arrows() -> dict[tuple[str, str], list[str]]:
    """From floor to floor, and by which imports."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for module in modules():
        for target in imports(module):
            ends = floor_of(module), floor_of(target)
            if ends[0] != ends[1] and ends[1]:
                found[ends].append(f"{module} imports {target}")
    return found


def test_imports_run_downwards() -> None:
    found = arrows()
    for floor in reversed(FLOORS):
        below = sorted(target for source, target in found if source == floor)
        print(f"{floor}: {', '.join(below)}")
    upwards = [
        line
        for (source, target), lines in found.items()
        if FLOORS.index(source) < FLOORS.index(target)
        for line in lines
    ]
    assert not upwards, "\n".join(upwards)


def test_plain_data_alone_passes_between_scheduling_and_execution() -> None:
    """So that what computes may be in another process: see core/protocol/scheduler_output.py."""
    found = arrows()
    ends = "core.engine.scheduling", "core.engine.execution"
    assert not found.get(ends, []) + found.get(ends[::-1], [])


def test_folders_of_core_are_small() -> None:
    for folder in [ROOT / "core", *(ROOT / "core").rglob("*/")]:
        files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(files) <= MAX_FILES, folder


def test_bookkeeping_needs_no_torch() -> None:
    """In an interpreter of its own, as this one has torch."""
    wanted = [f"octavo.{module}" for module in modules() if floor_of(module) in TORCHLESS]
    script = f"import sys, {', '.join(wanted)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_plugins_import_only_the_contract_and_themselves() -> None:
    for module in modules():
        if module.startswith("plugins."):
            own = ".".join(module.split(".")[:3])
            for target in imports(module):
                assert target.startswith((own, *PLUGINS_MAY_IMPORT)), f"{module} imports {target}"
