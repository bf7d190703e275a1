"""`octavo chat` in a real terminal, with a model behind a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from serving import wait_until
from slow_chat_server import event, slow_server, stream
from tmux import PROMPT, Terminal, python_in_terminal

PICTURES = Path(__file__).parents[3] / "examples" / "images"
PASTE = "Compare these:\n\n\ta cat\n/clear\na dog\\"
LONG = "Tell me a long story."
#: A Python that was built without readline: pastes are not told from what is typed.
WITHOUT_READLINE = """
import sys
sys.modules["readline"] = None
from octavo.__main__ import main
status = main(sys.argv[1:])
print("with" if "torch" in sys.modules else "without", "torch")
sys.exit(status)
"""


def saved(terminal: Terminal, path: Path) -> list[dict[str, Any]]:
    """The messages so far, by /save."""
    assert f"saved to {path}" in terminal.say(f"/save {path}")
    messages: list[dict[str, Any]] = json.loads(path.read_text())["messages"]
    return messages


def questions(messages: list[dict[str, Any]]) -> list[Any]:
    return [message["content"] for message in messages if message["role"] == "user"]


def answer(base: str, messages: list[dict[str, Any]]) -> str:
    body = {"messages": messages, "temperature": 0}
    response = httpx.post(f"{base}/v1/chat/completions", json=body, timeout=240)
    return str(response.json()["choices"][0]["message"]["content"])


def test_lines_are_edited_pasted_and_recalled_in_the_next_run(
    demo_server: str, tmp_path: Path
) -> None:
    chat = ["-m", "octavo", "chat", "--base-url", f"{demo_server}/v1", "--temperature=0"]
    state = str(tmp_path / "state")
    with python_in_terminal(*chat, XDG_STATE_HOME=state) as terminal:
        terminal.wait_for(PROMPT)
        terminal.type("Wat is this", "Home", "Right")
        terminal.type("h", "End")
        terminal.type("?")
        terminal.enter("> What is this?")
        terminal.paste(PASTE)
        terminal.wait_for("a dog\\")
        terminal.type("", "BSpace")
        terminal.enter("a dog")
        terminal.type("one", "M-Enter")
        terminal.type("two\\", "Enter")
        terminal.wait_for("\n…")
        terminal.type("three")
        terminal.enter("… three")
        first = saved(terminal, tmp_path / "first.json")
        terminal.type("", "C-d")
        terminal.wait_for("status 0")
    whole = PASTE.removesuffix("\\")
    assert questions(first) == ["What is this?", whole, "one\ntwo\nthree"]
    for i in (1, 3, 5):
        assert first[i] == {"role": "assistant", "content": answer(demo_server, first[:i])}

    with python_in_terminal(*chat, XDG_STATE_HOME=state) as terminal:
        terminal.wait_for(PROMPT)
        terminal.type("", "Up", "Up", "Up")
        terminal.wait_for("a dog")
        terminal.type("?")
        terminal.enter("a dog?")
        terminal.type("/sa", "Tab")
        terminal.type(str(tmp_path / "sta"), "Tab")
        terminal.type("second.json")
        terminal.enter(f"> /save {state}/second.json")
        terminal.type("/quit", "Enter")
        terminal.wait_for("status 0")
    second = json.loads((tmp_path / "state" / "second.json").read_text())["messages"]
    assert questions(second) == [f"{whole}?"]


def test_commands_pictures_and_an_answer_that_is_ended(demo_server: str, tmp_path: Path) -> None:
    red = tmp_path / "a red one.png"
    Image.new("RGB", (40, 40), (200, 30, 40)).save(red)
    chat = ["-m", "octavo", "chat", "--base-url", f"{demo_server}/v1", "--temperature=0"]
    environment = {"XDG_STATE_HOME": str(tmp_path), "COLORTERM": "truecolor"}
    with python_in_terminal(*chat, **environment) as terminal:
        terminal.wait_for(PROMPT)
        assert "/save FILE " in terminal.say("/help")
        assert terminal.say("/imge x") == "octavo: there is no command /imge; did you mean /image?"
        wrong = "octavo: nowhere.png can't be read: No such file or directory"
        assert terminal.say("/image nowhere.png") == wrong
        assert terminal.say("/system Be brief.") == "Be brief."
        assert terminal.say("/set temperature 0.2") == "temperature 0.2"
        assert terminal.say("/set temperature=0") == "temperature 0.0"

        shown = terminal.say(f"/image {red}")
        assert shown.endswith("▀\na red one.png, 40 × 40, goes with the next question")
        assert "38;2;200;30;40" in terminal.screen("-e")
        assert terminal.say('/image ""') == "the next question is without a picture"
        terminal.say(f"/image {PICTURES}/dog.png")
        assert "dog" in terminal.say("What is this?")

        terminal.say("/set ignore_eos true")
        terminal.say("/set min_tokens 1500")
        terminal.begin(LONG)
        terminal.type("", "C-c")
        ended = terminal.wait_for(PROMPT).partition(f"{LONG}\n")[2]
        assert "^C" in ended
        assert "(cut off" not in ended
        terminal.say("/set ignore_eos default")
        terminal.say("/set min_tokens default")
        last = terminal.say("And now?")
        messages = saved(terminal, tmp_path / "chat.json")
        text = {"type": "text", "text": "What is this?"}
        image = {"type": "image_url", "image_url": {"url": f"{PICTURES.as_uri()}/dog.png"}}
        assert messages[0] == {"role": "system", "content": "Be brief."}
        assert questions(messages) == [[image, text], LONG, "And now?"]
        assert messages[4]["content"] in ended.replace("\n", "")
        assert messages[6]["content"] == last

        terminal.say("/clear")
        assert saved(terminal, tmp_path / "chat.json") == messages[:1]
        terminal.type("never asked")
        # Ctrl-C throws away what the terminal holds and the program has not read.
        terminal.wait_for("> never asked")
        terminal.type("", "C-c")
        terminal.wait_for(f"> never asked{PROMPT}")
        terminal.type("", "C-c")
        terminal.wait_for(f"Ctrl-C once more ends, as does Ctrl-D{PROMPT}")
        terminal.type("", "C-c")
        terminal.wait_for("status 0")


def test_an_answer_can_not_move_the_cursor() -> None:
    choice = {
        "delta": {"content": "one\ttwo\x1b[1;1Hthree\x9b1Afour\rfive"},
        "finish_reason": "stop",
    }
    with slow_server(0) as server:
        server.raw[9] = stream(event({"choices": [choice]}))
        chat = ["-m", "octavo", "chat", "--base-url", server.base_url, "--max-tokens=9"]
        with python_in_terminal(*chat, "--prompt=Hello") as terminal:
            terminal.wait_for("one     two[1;1Hthree1Afourfive\nstatus 0")


def test_a_python_without_readline_and_a_paste(demo_server: str, tmp_path: Path) -> None:
    chat = ["-c", WITHOUT_READLINE, "chat", "--base-url", f"{demo_server}/v1", "--temperature=0"]
    with python_in_terminal(*chat, XDG_STATE_HOME=str(tmp_path)) as terminal:
        terminal.wait_for(PROMPT)
        terminal.paste("a cat\n/clear\na dog")
        wait_until(lambda: terminal.screen().count("…") == 2, 10)
        terminal.enter("")
        assert questions(saved(terminal, tmp_path / "chat.json")) == ["a cat\n/clear\na dog"]
        terminal.type("", "C-d")
        terminal.wait_for("without torch\nstatus 0")
