"""The commands that begin with a slash."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from ...core.protocol.setting import nearest
from .backend import ChatError
from .picture import path_of
from .sampling import NAMES
from .talk import Talk
from .typed_text import split_paths


class EndOfChat(Exception):  # noqa: N818 - not an error
    """The person wants to end the program."""


@dataclass(frozen=True)
class Command:
    """usage: what follows the name. help: in half a sentence. run: what it does with that."""

    usage: str
    help: str
    run: Callable[[Talk, str], None]


def run_command(talk: Talk, name: str, argument: str) -> None:
    """Raises ChatError for what can't be done, an unknown name too, and EndOfChat."""
    command = COMMANDS.get(name)
    if command is None:
        hint = nearest(f"/{name}", [f"/{known}" for known in COMMANDS])
        raise ChatError(f"there is no command /{name}{hint or '; /help lists all'}")
    if argument and not command.usage:
        raise ChatError(f"/{name} takes nothing after it, got {argument!r}")
    command.run(talk, argument)


def _image(talk: Talk, argument: str) -> None:
    if argument == '""':
        talk.conversation.pictures = []
        talk.screen.note("the next question is without a picture")
    elif argument:
        talk.attach(split_paths(argument))
    elif talk.conversation.pictures:
        waiting = ", ".join(str(picture.path) for picture in talk.conversation.pictures)
        talk.screen.note(f"with the next question: {waiting}")
    else:
        raise ChatError("/image needs a path, such as /image dog.png")


def _clear(talk: Talk, argument: str) -> None:
    talk.conversation.clear()
    talk.screen.note("all is forgotten, but for the system text")


def _system(talk: Talk, argument: str) -> None:
    if argument == '""':
        talk.conversation.system = None
    elif argument:
        talk.conversation.system = argument
    talk.screen.note(talk.conversation.system or "there is no system text")


def _set(talk: Talk, argument: str) -> None:
    if not argument:
        talk.screen.note("\n".join(map(talk.sampling.show, NAMES)))
        return
    name, _, value = re.sub(r"\s*[=\s]\s*", " ", argument, count=1).partition(" ")
    if value:
        talk.sampling.set(name, value)
    talk.screen.note(talk.sampling.show(name))


def _save(talk: Talk, argument: str) -> None:
    paths = split_paths(argument)
    if len(paths) != 1:
        raise ChatError("/save needs the name of one file, such as /save chat.json")
    path = path_of(paths[0])
    try:
        again = path.resolve() in talk.written
        with path.open("w" if again else "x", encoding="utf-8") as file:
            json.dump(talk.conversation.saved(), file, indent=2, ensure_ascii=False)
            file.write("\n")
        talk.written.add(path.resolve())
    except FileExistsError as error:
        raise ChatError(f"{path} exists already; choose another name") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ChatError(f"{path} can't be written: {reason}") from error
    talk.screen.note(f"saved to {path}")


def _help(talk: Talk, argument: str) -> None:
    rows = [(f"/{name} {command.usage}", command.help) for name, command in COMMANDS.items()]
    lines = [f"{usage:<20}{text}" for usage, text in (*rows, *_KEYS)]
    talk.screen.note("\n".join(lines))


def _quit(talk: Talk, argument: str) -> None:
    raise EndOfChat


COMMANDS = {
    "image": Command("PATH …", 'pictures for the next question; "" for none', _image),
    "clear": Command("", "forget what was said, and begin anew", _clear),
    "system": Command("TEXT", 'what the model is told first; "" for nothing', _system),
    "set": Command("NAME VALUE", "a sampling parameter; /set alone shows all", _set),
    "save": Command("FILE", "write the conversation as JSON", _save),
    "help": Command("", "this list", _help),
    "quit": Command("", "end; so does Ctrl-D", _quit),
}
_KEYS = (
    ("Alt-Enter", "a new line in the question; so does \\ at a line's end"),
    ("Ctrl-C", "ends an answer, or drops what is typed; twice, the program"),
)
