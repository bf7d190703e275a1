"""`octavo chat` in a real terminal, with a model in its own process: Ctrl-C ends an answer between
two steps of the engine, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

from octavo import LLM
from tmux import PROMPT, python_in_terminal

LONG = ("Tell me a long story.", "Tell me another.")


def test_ctrl_c_ends_the_answer_and_the_next_question_is_answered(
    offline: LLM, tmp_path: Path
) -> None:
    chat = ["-m", "octavo", "chat", "--temperature=0", "--dtype=float32"]
    saved = tmp_path / "chat.json"
    with python_in_terminal(*chat, XDG_STATE_HOME=str(tmp_path)) as terminal:
        terminal.wait_for(PROMPT)
        terminal.say("/set ignore_eos true")
        terminal.say("/set min_tokens 1500")
        for question in LONG:
            terminal.begin(question)
            terminal.type("", "C-c")
            terminal.wait_for(PROMPT)
        terminal.say("/set ignore_eos default")
        terminal.say("/set min_tokens default")
        terminal.say("Hello")
        terminal.say(f"/save {saved}")
        terminal.type("", "C-d")
        terminal.wait_for("status 0")
    messages = json.loads(saved.read_text())["messages"]
    assert [message["role"] for message in messages] == 3 * ["user", "assistant"]
    for i, long in ((1, True), (3, True), (5, False)):
        params = offline.default_sampling_params(
            temperature=0, max_tokens=300, ignore_eos=long, min_tokens=300 * long
        )
        whole = offline.chat(messages[:i], params)[0].outputs[0].text
        given = messages[i]["content"]
        assert given
        shorter = min(len(given), len(whole)) if long else None
        assert given[:shorter] == whole[:shorter]
