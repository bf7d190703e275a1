"""`get_tokenizer` gives transformers' own, which writes the prompts that `chat` does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from octavo import LLM, SamplingParams
from octavo.app import DEMO_MODEL
from transformers import AutoTokenizer, PreTrainedTokenizerBase

MESSAGES = [{"role": "user", "content": "What is this?"}]


def test_it_is_transformers_own(offline: LLM) -> None:
    tokenizer = offline.get_tokenizer()
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    assert tokenizer is offline.get_tokenizer()
    (output,) = offline.generate("Once upon a time", SamplingParams(max_tokens=2))
    assert tokenizer.encode("Once upon a time") == output.prompt_token_ids
    own = AutoTokenizer.from_pretrained(offline.config.model)
    assert tokenizer.decode(output.prompt_token_ids) == own.decode(output.prompt_token_ids)


def test_its_chat_template_is_the_one_in_use(offline: LLM) -> None:
    given = offline.get_tokenizer().apply_chat_template(MESSAGES, add_generation_prompt=True)
    (output,) = offline.chat(MESSAGES, SamplingParams(max_tokens=2))
    assert given["input_ids"] == output.prompt_token_ids


def test_a_template_of_the_processor_is_its_too(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    shutil.copytree(DEMO_MODEL, folder, ignore=shutil.ignore_patterns("chat_template.jinja"))
    template = "{% for m in messages %}{{ m['role'] }} says {{ m['content'] }} {% endfor %}"
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    with LLM(folder, dtype="float32", max_model_len=512) as llm:
        rendered = llm.get_tokenizer().apply_chat_template(MESSAGES, tokenize=False)
        assert rendered == "user says What is this? "
        (output,) = llm.chat(MESSAGES, SamplingParams(max_tokens=2))
        encoded = llm.get_tokenizer().encode(rendered, add_special_tokens=False)
        assert encoded == output.prompt_token_ids
