"""No test asserts how long something took: machines differ, and are shared. Bounds are of work, or
of CPU time."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
CLOCKS = frozenset({"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "time_ns"})


def reads_clock(node: ast.AST) -> bool:
    """Whether time.monotonic() or the like is called within; time.time, too."""
    return any(
        isinstance(n, ast.Call)
        and isinstance(n.func, ast.Attribute)
        and isinstance(n.func.value, ast.Name)
        and n.func.value.id == "time"
        and (n.func.attr in CLOCKS or n.func.attr == "time")
        for n in ast.walk(node)
    )


def names_in(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def asserted_readings(function: ast.AST) -> Iterator[int]:
    """Lines that assert something of a clock, or of what was computed from it in the function."""
    readings: set[str] = set()
    for node in sorted(ast.walk(function), key=lambda n: getattr(n, "lineno", 0)):
        value = getattr(node, "value", None)
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and value is not None:
            if reads_clock(value) or names_in(value) & readings:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                readings |= {t.id for t in targets if isinstance(t, ast.Name)}
        elif isinstance(node, ast.Expr) and isinstance(value, ast.Call) and reads_clock(value):
            # seconds.append(time.monotonic() - started)
            if isinstance(value.func, ast.Attribute) and isinstance(value.func.value, ast.Name):
                readings.add(value.func.value.id)
        elif isinstance(node, ast.Assert) and (
            reads_clock(node.test) or names_in(node.test) & readings
        ):
            yield node.lineno


def findings(source: str) -> list[int]:
    functions = (
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return sorted({line for function in functions for line in asserted_readings(function)})


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda p: p.stem)
def test_no_test_asserts_time(path: Path) -> None:
    lines = findings(path.read_text())
    assert not lines, f"{path}: asserts wall-clock time in lines {lines}"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("assert time.monotonic() - start < 1", True),
        ("start = time.time()\n    took = time.time() - start\n    assert took < 1", True),
        ("seconds = []\n    seconds.append(time.time() - 3)\n    assert max(seconds) < 1", True),
        ("start = time.thread_time()\n    assert time.thread_time() - start < 1", False),
        ("if time.monotonic() > deadline:\n        pytest.fail('waited in vain')", False),
    ],
)  # fmt: skip
def test_what_is_found(body: str, found: bool) -> None:
    assert bool(findings(f"def test():\n    {body}\n")) is found
