"""A certificate authority that nobody knows, and servers that it vouches for."""

from __future__ import annotations

import ssl
from functools import cache
from typing import TYPE_CHECKING, Any

import trustme

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["authority_file", "server_context"]


@cache
def _authority() -> trustme.CA:
    return trustme.CA()


def authority_file(folder: Path) -> Path:
    """The authority's certificate, in PEM."""
    path = folder / "ca.pem"
    _authority().cert_pem.write_to_path(str(path))
    return path


@cache
def server_context(name: str = "127.0.0.1") -> ssl.SSLContext:
    """What a server needs to speak TLS under a name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate: Any = _authority().issue_cert(name)  # it takes an OpenSSL context too, untyped
    certificate.configure_cert(context)
    return context
