"""The help of every command: groups, defaults, an example that its own parser takes."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator

import pytest
from octavo.__main__ import build_command_line, main
from octavo.app.cli.command_parser import CommandParser
from octavo.app.cli.option_groups import grouped


def parsers(parser: CommandParser | None = None) -> Iterator[CommandParser]:
    """Of all commands, and of theirs."""
    parser = parser or build_command_line()
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from parsers(command)


def options(parser: CommandParser) -> list[argparse.Action]:
    return [action for action in parser._actions if action.option_strings]


COMMANDS = [p for p in parsers() if not p._subparsers]


@pytest.mark.parametrize("parser", COMMANDS, ids=lambda parser: parser.prog)
def test_an_example_that_can_be_typed(parser: CommandParser) -> None:
    _, _, examples = parser.format_help().rpartition("example")
    lines = [line for line in examples.splitlines()[1:] if line]
    assert lines
    for line in lines:
        assert line.strip().startswith(parser.prog)
        build_command_line().parse_args(shlex.split(line)[1:])


@pytest.mark.parametrize("parser", COMMANDS, ids=lambda parser: parser.prog)
def test_each_option_has_a_text_and_its_default(parser: CommandParser) -> None:
    for action in options(parser):
        assert action.help, action.option_strings
        formatter = parser._get_formatter()
        formatter.add_argument(action)
        text = " ".join(formatter.format_help().split())
        is_flag = action.nargs == 0 and action.default in (False, argparse.SUPPRESS)
        if not is_flag and action.default not in (None, []):
            assert "default" in text, text


def test_an_option_stands_under_one_heading() -> None:
    for parser in parsers():
        listed = [a for found in grouped(options(parser)).values() for a in found]
        assert sorted(map(id, listed)) == sorted(map(id, options(parser)))
    (serve,) = [p for p in COMMANDS if p.prog == "octavo serve"]
    assert "options" not in grouped(options(serve)), "give a new option its heading"


def test_octavo_alone_prints_help(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["plugins"], ["bench"]):
        assert main(words) == 0
        printed = capsys.readouterr()
        assert printed.out.startswith(f"usage: octavo {' '.join(words)}".rstrip())
        assert not printed.err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("serv", "invalid choice: 'serv'"),
        ("serve --max-nun-seqs 8", "did you mean --max-num-seqs?"),
        ("caption", "required: SOURCE"),
        ("plugins lst", "invalid choice: 'lst'"),
        ("bench serve --num-prompts many", "invalid int value: 'many'"),
    ],
)
def test_a_wrong_word_costs_one_line(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert not printed.out
