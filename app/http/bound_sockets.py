"""Taking a server's address before its model is loaded, which may take minutes."""

from __future__ import annotations

import errno
import socket

from ...core.protocol.config import ConfigError


def bind_sockets(host: str, port: int) -> list[socket.socket]:
    """Sockets at all addresses of a host, which don't listen yet. port: 0 for any free one.

    Raises ConfigError if the address can't be had.
    """
    if not 0 <= port < 2**16:
        raise ConfigError(f"--port: {port} is no port; they go up to 65535")
    sockets: list[socket.socket] = []
    flags = socket.AI_PASSIVE
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=flags)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            sock = socket.socket(family, kind, protocol)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            taken = sockets[0].getsockname()[1] if len(sockets) > 1 else port
            sock.bind((address[0], taken, *address[2:]))
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise _refusal(error, host, port) from error
    return sockets


def _refusal(error: OSError, host: str, port: int) -> ConfigError:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return ConfigError(f"--host: {host!r} is no address of this machine: {error}")
    return port_refusal(error, port)


def port_refusal(error: OSError, port: int) -> ConfigError:
    """What to say of a port that can't be had."""
    if error.errno == errno.EADDRINUSE:
        return ConfigError(f"--port: {port} is in use by another program; choose another")
    return ConfigError(f"--port: {port} can't be used: {error.strerror}")
