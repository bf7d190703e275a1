"""Which template a checkpoint's answers are read by, and where its prompts leave off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from octavo.core.checkpoints.checkpoint import Checkpoint
from octavo.core.prompts.responses.answer_reader import AnswerReader
from octavo.core.prompts.responses.find_answer_reader import find_answer_reader
from octavo.core.prompts.tokenizer import Tokenizer
from octavo.core.protocol.config import ConfigError
from octavo.core.protocol.messages import RequestTimings
from octavo.core.protocol.outputs import CompletionOutput, RequestOutput
from octavo.core.registry.registry import get_registry
from scripted_checkpoint import save_scripts

_CALL = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
_OWN = {
    "start_anchor": "<assistant>",
    "fields": {
        "thinking": {"open": "<hm>", "close": "</hm>", "content": "text"},
        "content": {"content": "text"},
    },
}


def reader(folder: Path, wanted: str = "auto") -> AnswerReader | None:
    checkpoint = Checkpoint("scripted", folder)
    return find_answer_reader(wanted, checkpoint, Tokenizer(checkpoint), get_registry())


def name_of(folder: Path, wanted: str = "auto") -> str | None:
    found = reader(folder, wanted)
    return found and found.template.name


def change(folder: Path, **settings: Any) -> None:
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


@pytest.mark.parametrize(
    ("marks", "name"),
    [
        ("", None),
        ("<think>", "think"),
        ("<tool_call> </tool_call>", "hermes"),
        ("<tool_call> </tool_call> <function= <think>", "qwen-xml"),
        ("<tool_call> </tool_call> <arg_key>", "glm"),
        ("[TOOL_CALLS] [ARGS]", "mistral-args"),
        ("[TOOL_CALLS]", "mistral"),
    ],
)
def test_marks_in_the_chat_template_choose(tmp_path: Path, marks: str, name: str | None) -> None:
    save_scripts(tmp_path, {"a": ["b"]}, [], marks)
    assert name_of(tmp_path) == name
    assert name_of(tmp_path, "granite") == "granite"
    assert name_of(tmp_path, "none") is None


def test_thoughts_are_looked_for_where_the_model_marks_them(tmp_path: Path) -> None:
    for marks, reads in (
        ("<tool_call> </tool_call>", False),
        ("<tool_call></tool_call><think>", True),
    ):
        save_scripts(tmp_path / marks[:20].strip("<>"), {"a": ["b"]}, [], marks)
        found = reader(tmp_path / marks[:20].strip("<>"))
        assert found is not None
        assert found.template.reads(calls=False) is reads
        assert found.template.reads(calls=True)


def test_a_checkpoints_own_template_goes_first(tmp_path: Path) -> None:
    save_scripts(tmp_path, {"a": ["b"]}, [], "<tool_call> </tool_call>")
    change(tmp_path, response_template=_OWN)
    found = reader(tmp_path)
    assert found is not None
    parser = found.parsers([])()
    assert parser.feed("<hm>x</hm>y", last=True) == ("y", "x", [])
    change(tmp_path, response_template={"fields": {"mood": {"content": "text"}}})
    with pytest.raises(ConfigError, match="field 'mood' means nothing here"):
        reader(tmp_path)
    change(tmp_path, response_template={"fields": {"content": {"contnet": "text"}}})
    with pytest.raises(ConfigError, match="contnet"):
        reader(tmp_path)


def test_files_and_unknown_names(tmp_path: Path) -> None:
    save_scripts(tmp_path / "model", {"a": ["b"]}, [], "")
    with pytest.raises(ConfigError, match=r"--response-template hermse: neither one of auto, none"):
        reader(tmp_path / "model", "hermse")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"list\.json: must hold a JSON object"):
        reader(tmp_path / "model", str(tmp_path / "list.json"))


def test_what_the_prompt_has_begun_is_gone_on_with(tmp_path: Path) -> None:
    save_scripts(tmp_path, {"a": ["b"]}, [], "")
    (tmp_path / "chat_template.jinja").write_text(
        "{% for m in messages %}<user>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant><think>\n{% endif %}"
    )
    found = reader(tmp_path)
    assert found is not None
    tokenizer = Tokenizer(Checkpoint("scripted", tmp_path))
    prompt = tokenizer.encode_chat([{"role": "user", "content": "<assistant><think>?"}], None)
    completion = CompletionOutput(0, "Hm.</think>Yes", [], None)
    output = RequestOutput("r", prompt, [completion], True, RequestTimings(0.0), None, 0, 0, [])
    assert found.content(output) == "Yes"
    assert found.parsers(prompt)().feed("Hm.</think>Yes", last=True) == ("Yes", "Hm.", [])
