"""Thoughts of a model are no part of a caption, whether it is asked here or by a server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from shutil import copytree

import httpx
from captioning_tasks import coloured, picture_of, question, reader
from octavo import LLM
from octavo.app import DEMO_MODEL
from octavo.app.captioning.backends.local import LocalBackend
from octavo.app.captioning.task import Captioned, Question
from octavo.core.protocol.config import EngineConfig
from serving import running_server

PICTURE = coloured(7)


def captions(model: str | Path, *questions: Question) -> dict[str, str]:
    backend = LocalBackend(EngineConfig(model=str(model)), {})
    (outcome,) = backend.run([picture_of("a", PICTURE)], reader(*questions))
    backend.close()
    assert isinstance(outcome, Captioned)
    return {name: answer.text for name, answer in outcome.answers.items()}


def save_thinker(folder: Path, opens: str, closes: str) -> None:
    """The demo model, if what it says between two of its words were a thought."""
    copytree(DEMO_MODEL, folder)
    file = folder / "tokenizer_config.json"
    thought = {"open": opens, "close": closes, "content": "text"}
    fields = {"reasoning_content": thought, "content": {"content": "text"}}
    settings = json.loads(file.read_text()) | {"response_template": {"fields": fields}}
    file.write_text(json.dumps(settings))


def test_thoughts_are_left_out(tmp_path: Path) -> None:
    words: Sequence[str] = captions(DEMO_MODEL, question())["caption"].split()
    assert len(words) > 3
    assert len(set(words)) == len(words)
    thinker, said = tmp_path / "model", " ".join(words[2:])
    save_thinker(thinker, words[0], words[1])
    chosen = question(name="chosen")
    chosen = Question(chosen.name, chosen.messages, chosen.sampling, (" ".join(words[:3]),))
    found = captions(thinker, question(), chosen)
    assert found == {"caption": said, "chosen": chosen.choices[0]}
    with running_server(str(thinker)) as base:
        answer = httpx.post(
            f"{base}/v1/captions",
            files={"image": PICTURE},
            data={"prompt": "What is in this picture?", "temperature": "0", "max_tokens": "8"},
            timeout=240,
        )
        assert answer.json()["data"][0]["caption"] == said
    with LLM(str(thinker), response_template="none") as llm:
        assert llm.thought_reader is None
