"""docs/chat.md lists the commands that there are."""

from __future__ import annotations

import re
from pathlib import Path

import octavo
from octavo.app.chat.commands import COMMANDS

PAGE = (Path(octavo.__file__).parent / "docs" / "chat.md").read_text()


def test_every_command_is_listed_with_what_follows_it() -> None:
    listed = re.findall(r"^\| `(/.*?)` \|", PAGE, re.MULTILINE)
    assert listed == [f"/{name} {command.usage}".strip() for name, command in COMMANDS.items()]
