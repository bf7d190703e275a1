"""`octavo demo`: a server with a page, or the page alone."""

from __future__ import annotations

import argparse
import logging
import os
import socket
from typing import cast

from ...core.contracts.specs import load_object
from ...core.protocol.config import ConfigError
from ..http.bound_sockets import bind_sockets
from .command_parser import CommandParser
from .log_options import LOG_SETTINGS
from .serve_options import add_serve_options
from .serving import check_page, listen_config, serve, spawned_page

logger = logging.getLogger(__name__)

#: What means something to a page without a server.
_OF_A_PAGE = {
    *("base_url", "api_key", "ui", "host", "port", "max_body_mib", "max_connections"),
    *("drain_timeout", "config", *LOG_SETTINGS),
}


def add_demo_options(parser: CommandParser, model_help: str) -> None:
    """Those of `octavo serve`, and where a page alone finds its server."""
    add_serve_options(parser, model_help)
    parser.set_defaults(ui=True)
    parser.settings()["ui"].help = "as of octavo serve (default: yes, here)"
    parser.add_argument(
        "--base-url",
        metavar="URL",
        help="start no server, but show the page of one that runs elsewhere, such as "
        "http://127.0.0.1:8000; without --port, at a free one if 8000 is taken",
    )
    parser.add_argument(
        "--api-key", metavar="KEY", help="of that server (default: what OPENAI_API_KEY holds)"
    )


def run_demo(parser: CommandParser, options: argparse.Namespace) -> int:
    """Serve until told to stop; returns the exit status. Raises ConfigError or
    UnsupportedModelError."""
    if not options.ui:
        raise ConfigError("ui = false is for octavo serve; octavo demo is there for the page")
    check_page("octavo demo")
    if options.base_url is not None:
        return _page_alone(parser, options)
    if options.api_key is not None:
        raise ConfigError("--api-key means nothing without --base-url")
    return serve(options)


def _page_alone(parser: CommandParser, options: argparse.Namespace) -> int:
    for name, action in parser.settings().items():
        # The environment's and files' are the parser's defaults by now, and may be shared.
        if name not in _OF_A_PAGE and getattr(options, name) != parser.get_default(name):
            option = action.option_strings[0] if action.option_strings else name.upper()
            raise ConfigError(f"{option} is of a server; leave it or --base-url out")
    api_key = options.api_key or os.environ.get("OPENAI_API_KEY") or None
    load_object("octavo.app.page.server.other_server:check_server")(options.base_url, api_key)
    load_object("octavo.app.http.stop_signals:end_silently")()
    sockets = _bind(options, parser.get_default("port"))
    with spawned_page(options.base_url, api_key) as page:
        serve_page = load_object("octavo.app.http.page_server:serve_page")
        return cast(int, serve_page(options.base_url, listen_config(options, sockets, page)))


def _bind(options: argparse.Namespace, default_port: int) -> list[socket.socket]:
    """At a free port where the default one is taken, as by the server that is asked."""
    try:
        return bind_sockets(options.host, options.port)
    except ConfigError:
        if options.port != default_port:
            raise
        return bind_sockets(options.host, 0)
