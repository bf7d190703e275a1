"""What docs/captioning.md prints can be typed."""

from __future__ import annotations

import re
from pathlib import Path

import octavo
import pytest
from octavo.app.captioning.prompts.prompt_set import PromptSet
from octavo.app.cli.cli import build_parser

PAGE = (Path(octavo.__file__).parent / "docs" / "captioning.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_its_programs_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in blocks("python"):
        exec(compile(code, "docs/captioning.md", "exec"), names)
        printed = capsys.readouterr().out
        assert "red.png" in printed
    assert '"kind":"' in printed
    assert "1 captioned" in printed


def test_its_file_of_prompts_is_one(tmp_path: Path) -> None:
    (block,) = blocks("toml")
    path = tmp_path / "prompts.toml"
    path.write_text(block)
    prompts = PromptSet.from_options(file=path)
    assert prompts.names == ("caption", "kind")
    assert prompts.facts["kind"]["choices"] == ["day", "night"]


def test_its_options_are_those_of_the_command() -> None:
    parser, commands = build_parser()
    known = set(commands.choices["caption"]._option_string_actions)
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", PAGE))
    assert named <= known, named - known
    assert "caption" in parser.format_help()
