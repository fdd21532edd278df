"""How a command ends: the exit codes, and how an error is told. The only place for both."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from masivo import (
    MasivoAuthError,
    MasivoConfigError,
    MasivoError,
    MasivoNetworkError,
    MasivoServerKeyError,
    MasivoValidationError,
)

from . import terminal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TABLE", "Exit", "UsageError", "exit_of", "is_refusal_of_event", "report", "tell"]


class Exit(IntEnum):
    """What a command's exit code says."""

    GOOD = 0
    USAGE = 2
    KEY_REFUSED = 3
    SERVER_KEY = 4
    NETWORK = 5
    API = 6
    EVENTS_REFUSED = 7
    INTERRUPTED = 130


MEANINGS = {
    Exit.GOOD: "all is well",
    Exit.USAGE: "a wrong option, setting or file, or no key",
    Exit.KEY_REFUSED: "the API refused the key",
    Exit.SERVER_KEY: "the key is a SERVER key",
    Exit.NETWORK: "no usable answer: network, proxy, TLS, timeout",
    Exit.API: "the API answered with an error, or is not the Masivo API",
    Exit.EVENTS_REFUSED: "an event was refused",
    Exit.INTERRUPTED: "interrupted (Ctrl-C, SIGTERM)",
}

TABLE = "\b\nExit codes:\n" + "\n".join(
    f"  {code.value:<4} {meaning}" for code, meaning in MEANINGS.items()
)
"""For the help; ``\\b`` keeps click from filling the lines."""

_REFUSES_KEY = (400, 401, 403, 422)
_REFUSES_EVENT = (400, 413, 422)


class UsageError(Exception):
    """Something that the user must put right before anything can be done."""


def is_refusal_of_event(error: MasivoError) -> bool:
    """Whether it is the event that is at fault: sent again as it is, it would be refused again."""
    if isinstance(error, MasivoValidationError):
        return True
    return type(error) is MasivoError and error.status in _REFUSES_EVENT


def exit_of(error: MasivoError) -> Exit:
    """The exit code for an error."""
    if isinstance(error, MasivoConfigError):
        return Exit.USAGE
    if isinstance(error, MasivoServerKeyError):
        return Exit.SERVER_KEY
    if isinstance(error, MasivoAuthError) and error.status in _REFUSES_KEY:
        return Exit.KEY_REFUSED
    if isinstance(error, MasivoNetworkError):
        return Exit.NETWORK
    return Exit.EVENTS_REFUSED if is_refusal_of_event(error) else Exit.API


def report(error: MasivoError) -> Mapping[str, object]:
    """An error for scripts."""
    return {
        "kind": type(error).__name__,
        "message": error.message,
        "status": error.status,
        "details": error.details,
    }


def tell(error: MasivoError, base_url: str | None = None) -> Exit:
    """Say on stderr what went wrong and what to do; returns the exit code."""
    code = exit_of(error)
    terminal.fail(str(error))
    if isinstance(error.details, str) and error.details not in error.message:
        terminal.note(terminal.printable(f"The API's details: {error.details}"))
    if code is Exit.NETWORK:
        where = f" to {base_url}" if base_url else ""
        terminal.note(
            f"Check the way{where}: network, name, proxy (HTTPS_PROXY), and --base-url or "
            "MASIVO_BASE_URL."
        )
    return code
