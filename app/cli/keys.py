"""`octavo keys`: a fresh API key, and the entry for the file of `octavo serve --api-keys`."""

from __future__ import annotations

import argparse
import sys

from ...core.protocol.config import ConfigError
from ..tenants.key_entry import check_name, hash_of, new_key
from .command_parser import CommandParser, add_commands


def add_keys_commands(parser: CommandParser) -> None:
    """Those of `octavo keys`."""
    actions = add_commands(parser, "ACTION")
    new = actions.add_parser(
        "new",
        help="print a fresh key, once, and the entry that makes it valid",
        examples=["octavo keys new alice", "octavo keys new alice --yaml"],
    )
    new.add_argument("name", help="whose key it is, as metrics and the log say it")
    new.add_argument(
        "--yaml", action="store_true", help="print the entry in YAML (default: in TOML)"
    )
    new.set_defaults(run=_new)


def _new(options: argparse.Namespace) -> int:
    """The key goes to stderr, so that a file takes the entry alone. Raises ConfigError."""
    try:
        check_name(options.name)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    key = new_key()
    print(f"the key, which is not kept anywhere: {key}", file=sys.stderr)
    digest = hash_of(key)
    if options.yaml:
        print(f'{options.name}:\n  sha256: "{digest}"')
    else:
        print(f'[{options.name}]\nsha256 = "{digest}"')
    return 0
