"""Which hosts images may be fetched from: by domain name and by IP address."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

import idna

Network = IPv4Network | IPv6Network

_LONGEST_HOST = 253
_LABELS = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_NETLOC = re.compile(r"(\[(?P<ipv6>[^\[\]]*)\]|(?P<name>[^\[\]:]*))(:(?P<port>[0-9]{0,5}))?")

# The first network that holds an address names the reason.
_REFUSED: Sequence[tuple[Network, str]] = [
    (ip_network(network), reason)
    for network, reason in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "of a carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "Azure's own inside a machine"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarking"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("::/96", "IPv4-compatible"),
        ("64:ff9b::/96", "of a NAT64"),
        ("64:ff9b:1::/48", "of a NAT64"),
        ("2001::/32", "a Teredo tunnel"),
        ("2001::/23", "reserved for protocols"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "a 6to4 tunnel"),
        ("3fff::/20", "for documentation"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
]


def refusal(address: str, exempt: Sequence[Network] = ()) -> str | None:
    """Why an IP address may not be connected to, such as "private"; None if it may.

    exempt: networks that are allowed all the same. They are compared with the address itself,
    never with one embedded in it: 127.0.0.0/8 doesn't allow ::ffff:127.0.0.1.
    Source: IANA's registries of special-purpose IPv4 and IPv6 addresses (RFC 6890).
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return "not an IP address"
    if any(parsed in network for network in exempt):
        return None
    for network, reason in _REFUSED:
        if parsed in network:
            return reason
    if isinstance(parsed, IPv6Address) and parsed.scope_id is not None:
        return "bound to one interface"
    if parsed.is_reserved or not parsed.is_global:
        return "not public"
    return None


def split_netloc(netloc: str) -> tuple[str, int | None]:
    """The host of "host", "host:port" or "[IPv6]:port" in its one normal form, and the port.

    The form is ASCII, in lower case, without a trailing dot and without brackets. Raises
    ValueError.
    """
    match = _NETLOC.fullmatch(netloc)
    if match is None:
        raise ValueError("it must be host, host:port or [IPv6 address]:port")
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 0 < port < 2**16:
        raise ValueError(f"the port {port} is not between 1 and 65535")
    host = _normal_name(match["name"]) if match["ipv6"] is None else _normal_ipv6(match["ipv6"])
    return host, port


def _normal_ipv6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except ValueError as error:  # its message repeats the text, however long
        raise ValueError("what is in brackets is not an IPv6 address") from error
    if address.scope_id is not None:
        raise ValueError("an IPv6 address with a scope id can't be used")
    return str(address)


def _normal_name(name: str) -> str:
    if len(name) > _LONGEST_HOST + 1:  # a trailing dot is cut below
        raise ValueError(f"a host name has at most {_LONGEST_HOST} characters")
    ascii_name = name if name.isascii() else idna.encode(name, uts46=True).decode("ascii")
    host = ascii_name.lower().removesuffix(".")
    if len(host) > _LONGEST_HOST or not _LABELS.fullmatch(host):
        raise ValueError("the host is empty or not a valid name")
    return host


class _Rule(NamedTuple):
    host: str
    port: int | None
    subdomains: bool


class AllowedDomains:
    """The hosts that images may be fetched from; false if there are none.

    An entry is a host, matched exactly, or "*.example.com" for the subdomains of example.com at
    any depth, but not for itself. It stands for the scheme's own port, unless it names another:
    "example.com:8443". Raises ValueError for an entry that is none of these.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._rules = frozenset(map(_parse_rule, entries))

    def __bool__(self) -> bool:
        return bool(self._rules)

    def allow(self, host: str, port: int, default_port: int) -> bool:
        """Whether a host, in its normal form, may be fetched from at a port."""
        ports = {port, None} if port == default_port else {port}
        return any(
            rule.port in ports
            and (host.endswith(f".{rule.host}") if rule.subdomains else host == rule.host)
            for rule in self._rules
        )


def _parse_rule(entry: str) -> _Rule:
    if entry == "*":
        raise ValueError(
            "--allowed-media-domains: '*' would allow every host; name the domains, such as "
            "example.com or *.example.com"
        )
    if re.search(r"[/\\@?#]", entry):
        raise ValueError(
            f"--allowed-media-domains: {entry!r} is not a domain; write the host alone, such as "
            "example.com or example.com:8443"
        )
    try:
        host, port = split_netloc(entry.removeprefix("*."))
    except ValueError as error:
        raise ValueError(
            f"--allowed-media-domains: {entry!r} is not a domain: {error}; write it as "
            "example.com, *.example.com or example.com:8443"
        ) from error
    return _Rule(host, port, entry.startswith("*."))
