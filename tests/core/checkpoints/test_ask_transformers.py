"""What a process of its own says of configs and tokenizers is what transformers says here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from octavo.app import DEMO_MODEL
from octavo.core.checkpoints import transformers_answers
from octavo.core.checkpoints.ask_transformers import stamp_files

CONFIGS = [
    {"model_type": "llama", "hidden_size": 64},
    {"model_type": "llava", "text_config": {"model_type": "qwen2"}, "torch_dtype": "bfloat16"},
    {"model_type": "idefics3", "vision_config": {"hidden_size": 32}},
    {"model_type": "llava", "vision_config": {"model_type": "none-of-theirs", "depth": 3}},
    {"model_type": "none-of-theirs", "depth": 3},
    {"model_type": "gemma3", "text_config": {"rope_scaling": {"rope_type": "linear", "factor": 2}}},
    {"model_type": "llama", "num_attention_heads": "many"},
]
#: In a process without torch, as the server's; prints its answers, and what it has imported.
ASK = """
import json, sys
from octavo.core.checkpoints.ask_transformers import ask
answers = []
for question, argument, stamp in json.load(sys.stdin):
    try:
        answers.append(ask(question, argument, stamp))
    except Exception as error:
        answers.append({"error": str(error)})
print(json.dumps([answers, [name for name in ("torch", "transformers") if name in sys.modules]]))
"""


def asked_apart(questions: list[tuple[str, object, str]], cache: Path) -> list[dict[str, object]]:
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
    )
    answers, imported = json.loads(done.stdout)
    assert imported == []
    return list(answers)


def test_answers_are_the_same_and_kept(tmp_path: Path) -> None:
    source = {"folder": DEMO_MODEL, "options": {}}
    stamp = stamp_files(Path(DEMO_MODEL))
    questions: list[tuple[str, object, str]] = [("complete", c, "") for c in CONFIGS[:3]]
    questions += [("tokenizer", source, stamp), ("generation_fields", {}, "")]
    expected = [transformers_answers.complete(config) for config in CONFIGS[:3]]
    expected.append(transformers_answers.tokenizer(source))
    expected.append(transformers_answers.generation_fields({}))
    assert asked_apart(questions, tmp_path) == json.loads(json.dumps(expected))
    kept = sorted((tmp_path / "octavo" / "transformers").iterdir())
    assert len(kept) == len(questions)
    # From the folder: what lies there is the answer; what is damaged is asked anew.
    (tokens,) = [path for path in kept if "backend" in json.loads(path.read_text())]
    tokens.write_text(json.dumps({"backend": "as it was kept"}))
    (fields,) = [path for path in kept if "names" in json.loads(path.read_text())]
    fields.write_text("{")
    again = asked_apart(questions[3:], tmp_path)
    assert again == [{"backend": "as it was kept"}, json.loads(json.dumps(expected[4]))]
    # Another stamp is another question.
    assert asked_apart([("tokenizer", source, "later")], tmp_path) == expected[3:4]


def test_without_a_folder_to_keep_answers_in(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (answer,) = asked_apart([("complete", CONFIGS[0], "")], tmp_path / "file")
    assert answer == transformers_answers.complete(CONFIGS[0])


@pytest.mark.parametrize("config", CONFIGS[3:], ids=lambda config: str(config["model_type"]))
def test_configs_that_are_not_transformers_own(config: dict[str, object]) -> None:
    answer = transformers_answers.complete(config)
    if config["model_type"] == "none-of-theirs":
        assert answer == {"known": False, "config": config}
    elif "num_attention_heads" in config:
        assert answer["error"].startswith("the llama config is not valid: ")
    elif config["model_type"] == "llava":
        assert answer["known"]
        assert answer["config"]["vision_config"] == config["vision_config"]
    else:
        assert answer["config"]["text_config"]["rope_parameters"]


def test_a_folder_without_a_tokenizer_is_an_answer(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (answer,) = asked_apart([("tokenizer", {"folder": str(tmp_path)}, "")], tmp_path / "cache")
    assert "no usable tokenizer" in str(answer["error"])
