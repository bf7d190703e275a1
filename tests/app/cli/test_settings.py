"""Settings: from arguments, the environment, a file and Python, with one meaning."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import octavo
import pytest
from octavo import LLM
from octavo.__main__ import main
from octavo.app.cli.cli import build_parser
from octavo.app.cli.engine_options import engine_config
from octavo.app.cli.settings_page import settings_page
from octavo.core.protocol.config import ConfigError, EngineConfig
from octavo.core.protocol.setting import settings_of

#: One value of each setting, as a file, the environment and Python write it.
VALUES: dict[str, tuple[Any, str, Any]] = {
    "model_impl": ("octavo", "octavo", "octavo"),
    "mmproj": ("mmproj-f16.gguf", "mmproj-f16.gguf", "mmproj-f16.gguf"),
    "dtype": ("bfloat16", "bfloat16", "bfloat16"),
    "kv_cache_dtype": ("float32", "float32", "float32"),
    "device": ("cpu", "cpu", "cpu"),
    "quantization": ("int8", "int8", "int8"),
    "max_model_len": (512, "512", 512),
    "max_num_seqs": (7, "7", 7),
    "max_num_batched_tokens": (100, "100", 100),
    "enable_prefix_caching": (False, "no", False),
    "kv_cache_memory": ("64MiB", "64MiB", 2**26),
    "encoder_cache_memory": (1000, "1000", 1000),
    "max_image_tokens": (64, "64", 64),
    "max_image_pixels": (10_000, "10000", 10_000),
    "max_image_bytes": ("1M", "1M", 2**20),
    "max_images_per_prompt": (2, "2", 2),
    "image_background": ("black", "#000000", (0, 0, 0)),
    "encoder_cache": ("redis://h/0", "redis://h/0", "redis://h/0"),
    "encoder_cache_ttl": (0.5, "0.5", 0.5),
    "encoder_cache_max_item": ("2KiB", "2048", 2048),
    "encoder_cache_compression": (True, "1", True),
    "response_template": ("hermes", "hermes", "hermes"),
    "scheduling_policy": ("priority", "priority", "priority"),
    "max_num_queued_reqs": (0, "0", 0),
    "queue_timeout": (3, "3", 3.0),
    "request_timeout": (4.5, "4.5", 4.5),
    "engine_stall_timeout": (9, "9", 9.0),
    "max_logprobs": (5, "5", 5),
    "structured_outputs_backend": ("mine", "mine", "mine"),
    "batch_invariant": (True, "true", True),
}
Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file and returns its path."""

    def write_file(text: str, name: str = "octavo.toml") -> str:
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write_file


def parse(*arguments: str) -> argparse.Namespace:
    return build_parser()[0].parse_args(arguments)


def as_toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def test_every_setting_of_a_server_has_a_value_here() -> None:
    known = settings_of(EngineConfig).items()
    assert {name for name, of in known if of.commands != "none"} == {*VALUES, "trace"}
    assert {field.name for field in fields(EngineConfig)} == {"model", *settings_of(EngineConfig)}


def test_a_file_gives_every_setting(write: Write) -> None:
    lines = [f"{name} = {as_toml(value[0])}" for name, value in VALUES.items()]
    config = engine_config(parse("serve", "m", "--config", write("\n".join(lines))))
    assert config == EngineConfig(model="m", **{name: value[2] for name, value in VALUES.items()})


def test_the_environment_gives_every_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VALUES.items():
        monkeypatch.setenv(f"OCTAVO_{name.upper()}", value[1])
    config = engine_config(parse("serve", "m"))
    assert config == EngineConfig(model="m", **{name: value[2] for name, value in VALUES.items()})


def test_arguments_go_before_the_environment_before_a_file(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("model: of-file\nmax-num-seqs: 2\nmax-model-len: 20\nport: 9000", "o.yaml")
    monkeypatch.setenv("OCTAVO_MAX_NUM_SEQS", "3")
    monkeypatch.setenv("OCTAVO_MAX_MODEL_LEN", "30")
    options = parse("serve", f"--config={path}", "--max-num-seqs=4")
    config = engine_config(options)
    assert (config.model, config.max_num_seqs, config.max_model_len) == ("of-file", 4, 30)
    assert options.port == 9000
    assert engine_config(parse("serve", "given", "--config", path)).model == "given"


def test_the_option_may_be_abbreviated(write: Write) -> None:
    assert engine_config(parse("chat", "--conf", write("max_num_seqs = 3"))).max_num_seqs == 3


@pytest.mark.parametrize("words", [["--api-key", "sk-secret"], ["--api-key=sk-secret"]])
def test_a_key_is_not_taken_for_a_file_of_keys(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse("serve", *words)
    told = capsys.readouterr().err
    assert "--api-key; did you mean --api-keys?" in told
    assert "sk-secret" not in told
    assert parse("demo", *words).api_key == "sk-secret"


def test_what_is_given_several_times_is_no_setting(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", "--config", write('image = "dog.png"')]) == 2
    assert "image is no setting of this command" in capsys.readouterr().err


def test_a_file_gives_lists(write: Write) -> None:
    path = write('allowed_media_networks = ["10.1.0.0/16"]\nallowed_origins = ["*"]')
    options = parse("serve", "--config", path)
    assert [str(network) for network in options.allowed_media_networks] == ["10.1.0.0/16"]
    assert options.allowed_origins == ["*"]


def test_the_environment_of_other_commands_and_programs_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OCTAVO_QUEUE_TIMEOUT", "3")  # of a server
    monkeypatch.setenv("OCTAVO_PORT", "tcp://10.0.0.1:8000")  # of Kubernetes
    monkeypatch.setenv("OCTAVO_SERVICE_HOST", "10.0.0.1")
    assert engine_config(parse("verify", "m", "--dtype=auto")) == EngineConfig(model="m")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# .yaml\nmax_num_seqs: 8\nmax_num_seqs: 9", "max_num_seqs is there twice"),
        ("# .yaml\n- max_num_seqs", "must hold keys and values, such as max_num_seqs: 8"),
        ("# .yaml\na: [", "octavo.yaml: while parsing"),
        ("# .yaml\nmax_num_seqs:", "max_num_seqs must be a text or a number, got None"),
        ("# .json\n{}", "must end in .toml, .yaml or .yml"),
        ("max_num_seq = 8", "max_num_seq is no setting of this command; did you mean max_num_seqs"),
        ("zebra = 8", "zebra is no setting of this command"),
        ("config = 'x'", "config is no setting of this command"),
        ("max_num_seqs = 'many'", "max_num_seqs must be a whole number, got 'many'"),
        ("max_num_seqs = 1.5", "max_num_seqs must be a whole number, got 1.5"),
        ("max_num_seqs = true", "max_num_seqs must be a text or a number, got True"),
        ("max_num_seqs = [8]", "max_num_seqs must be a text or a number, got [8]"),
        ("max_num_seqs = 0", "max_num_seqs must be at least 1, got 0"),
        ("request_timeout = 'long'", "request_timeout must be a number, got 'long'"),
        ("request_timeout = nan", "request_timeout must be above 0 seconds and finite, got nan"),
        ("kv_cache_memory = '1 apple'", "kv_cache_memory: '1 apple' is no size"),
        ("dtype = 'float8'", "dtype must be one of auto, float32, bfloat16, float16, got 'float8'"),
        ("batch_invariant = 'yes'", "batch_invariant must be true or false, got 'yes'"),
        ("allowed_origins = '*'", "allowed_origins must be a list, got '*'"),
        ("image_background = 'bleu'", "image_background: 'bleu' is no colour"),
        ("max_num_seqs = 8\nmax-num-seqs = 9", "max_num_seqs is there twice"),
        ("max_num_seqs 8", "octavo.toml: Expected '='"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(
    text: str, message: str, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    # A first line names the kind of file, if it is not TOML.
    kind = text.split()[1] if text.startswith("# .") else ".toml"
    assert main(["serve", "--config", write(text, f"octavo{kind}")]) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--config=/none.toml"]) == 2
    assert "/none.toml can't be read: No such file" in capsys.readouterr().err


def test_a_file_for_a_server_is_refused_where_it_means_nothing(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", "--config", write("queue_timeout = 3")]) == 2
    assert "queue_timeout is a setting of octavo serve" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("OCTAVO_MAX_NUM_SEQ", "8", "no setting; did you mean OCTAVO_MAX_NUM_SEQS?"),
        ("OCTAVO_MAX_NUM_SEQS", "", "OCTAVO_MAX_NUM_SEQS must be a whole number, got ''"),
        ("OCTAVO_BATCH_INVARIANT", "maybe", "must be true or false, got 'maybe'"),
        ("OCTAVO_DTYPE", "float8", "OCTAVO_DTYPE must be one of auto, float32"),
    ],
)
def test_what_is_wrong_in_the_environment_is_named(
    variable: str,
    value: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, value)
    assert main(["chat", "m"]) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_option_is_told_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "m", "--max-nun-seqs=8"])
    assert "did you mean --max-num-seqs?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_num_seq": 8}, "max_num_seq is no setting; did you mean max_num_seqs?"),
        ({"max_num_seqs": "8"}, "max_num_seqs must be a whole number, got '8'"),
        ({"max_num_seqs": None}, "max_num_seqs must be a whole number, got None"),
        ({"encoder_cache_memory": -1}, "encoder_cache_memory must be at least 0, got -1"),
        ({"max_num_seqs": True}, "max_num_seqs must be a whole number, got True"),
        ({"batch_invariant": 1}, "batch_invariant must be True or False, got 1"),
        ({"encoder_cache": 6379}, "encoder_cache must be a text, got 6379"),
    ],
)
def test_python_is_told_too(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        LLM("m", **settings)
    assert message in str(raised.value)


def test_the_page_of_settings_is_what_the_code_says() -> None:
    page = Path(octavo.__file__).parent / "docs" / "settings.md"
    assert page.read_text() == settings_page()
