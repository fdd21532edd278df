"""Loopback hosts, which no other machine can reach."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Return whether the host is a loopback address or `localhost`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_loopback(host: str) -> None:
    """Raise ValueError unless the host is a loopback address or `localhost`."""
    if not is_loopback(host):
        raise ValueError(f"the emulator listens on loopback addresses only, not on {host!r}")
