"""TLS: the trusted certificates."""

from __future__ import annotations

import os
import re
import ssl
from functools import cache
from typing import TYPE_CHECKING

from masivo import MasivoConfigError

if TYPE_CHECKING:
    from .proxies import Lookup

__all__ = ["check_certificates", "client_context"]


def check_certificates(lookup: Lookup) -> None:
    """Raise for an SSL_CERT_FILE or SSL_CERT_DIR that cannot be used.

    Raises:
        MasivoConfigError: it names the variable, its path, and the reason.
    """
    if any(_named(lookup)):
        client_context(lookup)


def client_context(lookup: Lookup = os.getenv) -> ssl.SSLContext:
    """Return the SSL context for connections; the same object for the same environment.

    Raises:
        MasivoConfigError: the named certificates cannot be used.
    """
    file, directory = _named(lookup)
    if file is None and directory is None:
        import certifi

        return _loaded(certifi.where(), None)
    try:
        if directory is not None and not _is_hashed(directory):
            raise FileNotFoundError("no certificate has a hashed name there, see `openssl rehash`")
        return _loaded(file, directory)
    except OSError as error:  # an SSLError is one
        name, path = ("SSL_CERT_FILE", file) if file else ("SSL_CERT_DIR", directory)
        raise MasivoConfigError(
            f"{name} is {path!r}, which cannot be used: {error}. It must name the certificates of "
            "the CAs to trust, in PEM; unset it to trust the public CAs"
        ) from error


def _named(lookup: Lookup) -> tuple[str | None, str | None]:
    """The paths that count: a file wins over a directory."""
    file = lookup("SSL_CERT_FILE") or None
    return file, None if file else lookup("SSL_CERT_DIR") or None


def _is_hashed(directory: str) -> bool:
    from pathlib import Path  # only a client that needs it pays for it

    parts = [Path(part) for part in directory.split(os.pathsep)]
    there = [part for part in parts if part.is_dir()] or parts  # one of several may be missing
    names = (file.name for part in there for file in part.iterdir())
    return any(re.fullmatch(r"[0-9a-f]{8}\.[0-9]+", name) for name in names)


@cache  # it takes some 60 ms; shared by all connections of the process
def _loaded(file: str | None, directory: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=file, capath=directory)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION  # so that a write never waits for a read
    return context
