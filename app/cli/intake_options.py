"""The command line's options for where a server's images come from and how they are read."""

from __future__ import annotations

import argparse
import ipaddress
from pathlib import Path

from ...core.media_pool.pool_size import PoolSize
from ...core.protocol.config import ConfigError
from ..serving.intake_config import IntakeConfig


def add_fetch_options(parser: argparse.ArgumentParser) -> None:
    """Where images may be fetched from."""
    parser.add_argument(
        "--allowed-media-domains",
        nargs="+",
        default=[],
        metavar="HOST",
        help="hosts that images may be fetched from, such as example.com or *.example.com "
        "(default: none)",
    )
    parser.add_argument(
        "--allowed-media-networks",
        nargs="+",
        default=[],
        type=_network,
        metavar="CIDR",
        help="networks of private addresses that those hosts may have, such as 10.1.0.0/16 "
        "(default: none)",
    )
    parser.add_argument(
        "--media-timeout",
        type=_seconds,
        default=IntakeConfig.media_timeout,
        metavar="SECONDS",
        help="how long fetching an image may take "
        f"(default: {IntakeConfig.media_timeout:g} seconds)",
    )


def add_intake_options(parser: argparse.ArgumentParser) -> None:
    """Those of a server."""
    add_fetch_options(parser)
    parser.add_argument(
        "--allowed-local-media-path",
        type=Path,
        metavar="DIR",
        help="the folder that file: URLs may name files in (default: none)",
    )
    parser.add_argument(
        "--media-workers",
        type=count,
        metavar="N",
        help="processes that decode images (default: one for each processor)",
    )
    parser.add_argument(
        "--max-queued-images",
        type=count,
        default=PoolSize.max_queued,
        metavar="N",
        help="images that may wait to be decoded; more are refused with 429 "
        f"(default: {PoolSize.max_queued})",
    )


def intake_config(options: argparse.Namespace) -> IntakeConfig:
    """The settings that were parsed. Raises ConfigError."""
    folder: Path | None = options.allowed_local_media_path
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"--allowed-local-media-path: {folder} is not a folder")
    return IntakeConfig(
        tuple(options.allowed_media_domains),
        tuple(options.allowed_media_networks),
        folder,
        options.media_timeout,
        PoolSize(options.media_workers, options.max_queued_images),
    )


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def count(text: str) -> int:
    """Of at least one."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 1")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds
