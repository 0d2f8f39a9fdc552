"""Hosts that nobody but this machine or its network can open. No name is looked up: what cannot be told is taken for public."""

import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal
from unicodedata import normalize

Reach = Literal["this machine", "a private network"]

#: Names that no public DNS has: set apart for it, or never given out because so many use them inside.
_PRIVATE_ENDS = (
    ".local", ".localdomain", ".internal", ".intranet", ".private", ".lan", ".home", ".corp", ".mail", ".home.arpa",
)  # fmt: skip
#: What browsers read as an IPv4 address, in whatever spelling: `127.1`, `0x7f000001`, `2130706433`. Possessive, label by label:
#: a host may have two thousand digits.
_NUMERIC = re.compile(r"(?:[0-9a-fx]*+\.)*+(?:[0-9]++|0x[0-9a-f]*+)")


def private_reach(host: str) -> Reach | None:
    """Who alone can open `host` (a name or an address, IPv6 with or without brackets); None for everybody. A host with a
    placeholder in it may be any."""
    name = normalize("NFKC", host).lower().strip("[]").rstrip(".")
    if "{{" in name or not name:
        return None
    if address := _address(name):
        if address.is_loopback or address.is_unspecified:
            return "this machine"
        public = address.is_global and not (address.is_reserved or address.is_multicast)
        return None if public else "a private network"
    if name == "localhost" or name.endswith((".localhost", "localhost.localdomain")):
        return "this machine"
    return "a private network" if "." not in name or name.endswith(_PRIVATE_ENDS) else None


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(name)
    except ValueError:
        if not _NUMERIC.fullmatch(name):
            return None
        try:
            return IPv4Address(socket.inet_aton(name))
        except OSError:
            return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
