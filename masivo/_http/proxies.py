"""The choice of a proxy from the environment, for our one host.

``HTTPS_PROXY``, else ``ALL_PROXY``; names in lower case win over upper case, as with other
programs. ``NO_PROXY`` lists hosts without a proxy, separated by commas or blanks:

=====================  ==========================================================================
entry                  hosts
=====================  ==========================================================================
``*``                  all
``example.com``        that name, and every name below it (``.example.com``, ``*.example.com``: too)
``10.0.0.1``, ``::1``  that address
``10.0.0.0/8``         the addresses of that network, ``fd00::/8`` likewise
... ``:8443``          only at that port; an IPv6 address is in brackets then
=====================  ==========================================================================

An entry that is none of these matches no host. No name is looked up.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias
from urllib.parse import unquote, urlsplit

from masivo import MasivoConfigError
from masivo.protocol import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Lookup", "Proxy", "proxy_for"]

Lookup: TypeAlias = "Callable[[str], str | None]"
"""Returns the value of an environment variable, or None if it is not set."""

_SCHEMES: Final = ("http", "https", "socks5", "socks5h")
# Not compiled here: most clients need none of them.
_ENTRY: Final = r"(?:\[(?P<v6>[^]]*)\]|(?P<host>[^:]*))(?::(?P<port>[0-9]{1,5}))?"
_ADDRESS: Final = r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?/?"


class Proxy(NamedTuple):
    """A proxy that can be used."""

    url: str
    """Scheme, host and port."""
    auth: tuple[str, str] | None
    """User and password."""

    def __repr__(self) -> str:
        return f"<Proxy {self.url}>"


def proxy_for(base_url: str, lookup: Lookup) -> Proxy | None:
    """Return the proxy that requests to ``base_url`` go through; None for none.

    Args:
        base_url: this machine's, or one of https.
        lookup: gives the values of environment variables.

    Raises:
        MasivoConfigError: a proxy applies, and cannot be used. The message names the variable and
            its value, without credentials.
    """
    if is_loopback(base_url):
        return None
    name, value = _setting("https_proxy", lookup)
    if not value:
        name, value = _setting("all_proxy", lookup)
    if not value or _is_excluded(base_url, _setting("no_proxy", lookup)[1]):
        return None
    proxy = _checked(name, value)
    del value  # its password: a traceback may show local variables
    if isinstance(proxy, MasivoConfigError):
        raise proxy
    return proxy


def _setting(name: str, lookup: Lookup) -> tuple[str, str]:
    value = lookup(name)
    if value is None:  # an empty one in lower case counts, too
        name = name.upper()
        value = lookup(name)
    return name, (value or "").strip()


# ── NO_PROXY ─────────────────────────────────────────────────────────────────────────────────


def _is_excluded(base_url: str, no_proxy: str) -> bool:
    parts = urlsplit(base_url)
    host = (parts.hostname or "").rstrip(".")
    port = parts.port or 443
    return any(_matches(entry, host, port) for entry in re.split(r"[\s,]+", no_proxy.lower()))


def _matches(entry: str, host: str, port: int) -> bool:
    if entry == "*" or _contains(entry, host):
        return True
    match = re.fullmatch(_ENTRY, entry)
    if match is None or (match["port"] and int(match["port"]) != port):
        return False
    named = (match["v6"] or match["host"] or "").removeprefix("*").strip(".")
    if ":" in host or host.rpartition(".")[2].isdigit():
        return _contains(named, host)
    return named != "" and f".{host}".endswith(f".{named}")


def _contains(network: str, host: str) -> bool:
    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:
        return False


# ── The proxy itself ─────────────────────────────────────────────────────────────────────────


def _checked(name: str, value: str) -> Proxy | MasivoConfigError:
    scheme, _, rest = (value if "://" in value else f"http://{value}").rpartition("://")
    credentials, at, address = rest.rpartition("@")
    match = re.fullmatch(_ADDRESS, address)
    port = 0 if match is None else int(match["port"] or 1)
    # Parts that cannot be parsed are hidden: they may hold credentials.
    shown = f"{scheme if scheme.isalnum() else '...'}://{'***@' if at else ''}"
    shown += address if match else "..."
    scheme = scheme.lower()
    if scheme not in _SCHEMES or not 0 < port < 65_536:
        return MasivoConfigError(
            f"{name} is {shown!r}, which is no proxy that can be used: it must look like "
            f"'http://[user:password@]host[:port]' (or {', '.join(_SCHEMES[1:])})"
        )
    if scheme.startswith("socks") and find_spec("socksio") is None:
        return MasivoConfigError(
            f"{name} is {shown!r}, and a SOCKS proxy needs an extra: pip install 'masivo[socks]'"
        )
    user, _, password = credentials.partition(":")
    return Proxy(f"{scheme}://{address}", (unquote(user), unquote(password)) if at else None)
