"""URLs of Redis servers: what is wrong with one, and how to show it."""

from __future__ import annotations

import re
from math import isfinite
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

EXPECTED = (
    "redis://[[user]:password@]host[:port][/database], the same with rediss:// for TLS, or "
    "unix:///path/to.sock?db=0&password=…; percent-encode special characters in a password"
)
_OPTIONS = {
    "client_name",
    "db",
    "max_connections",
    "password",
    "protocol",
    "socket_connect_timeout",
    "socket_keepalive",
    "socket_read_size",
    "socket_timeout",
    "username",
}
_FILES = {"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"}
_TLS_OPTIONS = {*_FILES, "ssl_cert_reqs", "ssl_check_hostname", "ssl_ciphers", "ssl_password"}
_TIMEOUTS = {"socket_connect_timeout", "socket_timeout"}


def without_password(url: str) -> str:
    """A URL as it may be shown. It need not be valid."""
    url = re.sub(r"(?s)(//[^:/?@]*:).*@", r"\1***@", url)
    return re.sub(r"(password=)[^&]*", r"\1***", url)


def fault_in_url(url: str) -> str | None:
    """What is wrong with a URL, without its password; None if it can be right."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # whose message may show a part of the password
        return f"its host or port can't be read; expected {EXPECTED}"
    if parts.scheme not in ("redis", "rediss", "unix") or parts.fragment:
        return f"expected {EXPECTED}"
    if parts.scheme == "unix":
        if parts.hostname or not parts.path.strip("/"):
            return "it names no socket; the path follows three slashes: unix:///path/to.sock"
    elif not parts.hostname:
        return f"it names no host; expected {EXPECTED}"
    elif parts.path.strip("/") and not parts.path.strip("/").isdecimal():
        return f"its database must be a number, such as /0, got {parts.path!r}"
    return _fault_in_options(dict(parse_qsl(parts.query)), parts.scheme == "rediss")


def _fault_in_options(options: dict[str, str], tls: bool) -> str | None:
    known = _OPTIONS | _TLS_OPTIONS if tls else _OPTIONS
    for name, value in options.items():
        if name in _TLS_OPTIONS and not tls:
            return f"its option {name} is for rediss:// only"
        if name not in known:
            return f"it has no option {name!r}; there are {', '.join(sorted(known))}"
        if name in _FILES and not Path(value).exists():
            return f"its option {name} names {value!r}, which isn't there"
        if name in _TIMEOUTS and not _is_positive(value):
            return f"its option {name} must be a number of seconds above 0, got {value!r}"
    return None


def _is_positive(value: str) -> bool:
    try:
        return float(value) > 0 and isfinite(float(value))
    except ValueError:
        return False
