"""The options of `octavo chat`, and what it begins with."""

from __future__ import annotations

import argparse
import os
from contextlib import closing
from typing import cast

from ...core.contracts.specs import load_object
from ...core.protocol.config import ConfigError, EngineConfig
from ...core.protocol.setting import settings_of
from ..chat.backend import Backend, ChatError
from .command_parser import CommandParser
from .engine_options import add_engine_options, engine_config

#: What one person needs, in place of the engine's defaults.
_FOR_ONE = {
    "max_num_seqs": (1, "requests that run at once (default: 1)"),
    "max_model_len": (
        None,
        "longest conversation, in tokens (default: the model's own limit, up to 8192; with "
        "--kv-cache-memory, the model's own)",
    ),
    "kv_cache_memory": (
        None,
        "for the KV cache, such as 512MiB (default: what a conversation of --max-model-len fills)",
    ),
}


def add_chat_options(parser: CommandParser) -> None:
    """All but the model."""
    parser.add_argument(
        "--base-url",
        metavar="URL",
        help="talk with a model behind a server of OpenAI's API, such as http://127.0.0.1:8000/v1; "
        "the model is then named as the server has it (default: the server's only one)",
    )
    parser.add_argument(
        "--api-key", metavar="KEY", help="of that server (default: what OPENAI_API_KEY holds)"
    )
    parser.add_argument(
        "--prompt", help="ask this and end; - asks all of standard input (default: what is typed)"
    )
    parser.add_argument(
        "--image", action="append", default=[], metavar="FILE", help="show a picture first"
    )
    parser.add_argument("--system", help="what the model is told first")
    parser.add_argument(
        "--max-tokens",
        type=int,
        help="of each answer (default: what the context has left; with --base-url, what the "
        "server gives)",
    )
    parser.add_argument("--temperature", type=float, help="0 for the likeliest words only")
    add_engine_options(parser)
    options = parser.settings()
    for name, (default, text) in _FOR_ONE.items():
        options[name].help = text
        parser.set_defaults(**{name: default})


def run_chat(
    parser: CommandParser, options: argparse.Namespace, model: str | None, name: str
) -> int:
    """Talk. model: None if none was named; name: what it is called. Raises ConfigError,
    UnsupportedModelError or RequestError for what can't begin."""
    # Only now, as most of it needs what other commands do without.
    read_picture = load_object("octavo.app.chat.picture:read_picture")
    sampling_class = load_object("octavo.app.chat.sampling:Sampling")
    chat = load_object("octavo.app.chat.chat:chat")
    config = engine_config(options)
    asked = {"max_tokens": options.max_tokens, "temperature": options.temperature}
    given = {key: value for key, value in asked.items() if value is not None}
    try:
        sampling_class({}, given)  # before the model is loaded
        pictures = [read_picture(path, config.media_limits) for path in options.image]
        if options.base_url is None:
            backend = _local(options, config, name)
        else:
            backend = _server(parser, options, model)
        with closing(backend):
            sampling = sampling_class(backend.defaults, given)
            return cast(int, chat(backend, sampling, options.system, pictures, options.prompt))
    except ChatError as error:
        raise ConfigError(str(error)) from error


def _local(options: argparse.Namespace, config: EngineConfig, name: str) -> Backend:
    if options.api_key is not None:
        raise ConfigError("--api-key means nothing without --base-url")
    backend_class = load_object("octavo.app.chat.local_backend:LocalBackend")
    return cast(Backend, backend_class(config, name))


def _server(parser: CommandParser, options: argparse.Namespace, model: str | None) -> Backend:
    for name in settings_of(EngineConfig):
        # The environment's and files' are the parser's defaults by now, and may be shared.
        if getattr(options, name, None) != parser.get_default(name):
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{flag} is of a model in this process; leave it or --base-url out")
    api_key = options.api_key or os.environ.get("OPENAI_API_KEY") or None
    backend_class = load_object("octavo.app.chat.server_backend:ServerBackend")
    return cast(Backend, backend_class(options.base_url, api_key, model))
