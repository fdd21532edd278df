"""Exit codes and error output of every command."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import click

from masivo import (
    MasivoAuthError,
    MasivoConfigError,
    MasivoError,
    MasivoNetworkError,
    MasivoQueueFullError,
    MasivoServerKeyError,
    MasivoValidationError,
)
from masivo._protocol.wire.statuses import KEY_AT_FAULT, REJECTED

from . import terminal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "TABLE",
    "Exit",
    "UsageError",
    "describe",
    "end",
    "exit_of",
    "is_rejection_of_event",
    "print_error",
    "report",
]


class Exit(IntEnum):
    """The exit codes of every command."""

    GOOD = 0
    USAGE = 2
    KEY_REFUSED = 3
    SERVER_KEY = 4
    NETWORK = 5
    API = 6
    EVENTS_REJECTED = 7
    INTERRUPTED = 130


MEANINGS = {
    Exit.GOOD: "success",
    Exit.USAGE: "a wrong option, setting or file, or no key",
    Exit.KEY_REFUSED: "the API refused the key",
    Exit.SERVER_KEY: "the key is a SERVER key",
    Exit.NETWORK: "no usable response: network, proxy, TLS, timeout",
    Exit.API: "the API responded with an error, or is not the Masivo API",
    Exit.EVENTS_REJECTED: "an event was rejected, or is invalid",
    Exit.INTERRUPTED: "interrupted (Ctrl-C, SIGTERM)",
}

TABLE = "\b\nExit codes:\n" + "\n".join(
    f"  {code.value:<4} {meaning}" for code, meaning in MEANINGS.items()
)
"""For ``--help``; ``\\b`` keeps click from filling the lines."""


class UsageError(Exception):
    """An error in the usage, which the user must correct first."""


def is_rejection_of_event(error: MasivoError) -> bool:
    """Return whether the event is at fault, so that sending it again unchanged would fail again."""
    if isinstance(error, MasivoValidationError):
        return True
    # Without a status, it was not sent, as it is too old.
    return type(error) is MasivoError and (error.status is None or error.status in REJECTED)


def exit_of(error: MasivoError) -> Exit:
    """Return the exit code for an error."""
    if isinstance(error, MasivoConfigError | MasivoQueueFullError):  # the spool is full
        return Exit.USAGE
    if isinstance(error, MasivoServerKeyError):
        return Exit.SERVER_KEY
    if isinstance(error, MasivoAuthError) and error.status in KEY_AT_FAULT:
        return Exit.KEY_REFUSED
    if isinstance(error, MasivoNetworkError):
        return Exit.NETWORK
    return Exit.EVENTS_REJECTED if is_rejection_of_event(error) else Exit.API


def report(error: MasivoError) -> Mapping[str, object]:
    """Return an error as a JSON object, for scripts."""
    message = str(error) if error.spooled else error.message  # do not send it again, it says
    return describe(type(error).__name__, message, error.status, error.details)


def describe(
    kind: str, message: str, status: int | None = None, details: object = None
) -> Mapping[str, object]:
    """Return an error of this kind as a JSON object."""
    return {"kind": kind, "message": message, "status": status, "details": details}


_FLAGS = {
    "check": "ok",
    "send": "success",
    "import": "complete",
    "spool": "complete",
    "relay": "complete",
}
"""The field of a command's JSON object that is false when it fails."""


def end(error: BaseException, arguments: Sequence[str]) -> int:
    """Print how a command failed, with ``--json`` as one object, too; return the exit code."""
    if isinstance(error, click.ClickException):
        code, kind, message = error.exit_code, "UsageError", error.format_message()
        error.show()
    elif isinstance(error, UsageError):
        code, kind, message = Exit.USAGE, "UsageError", str(error)
        terminal.fail(message)
    elif isinstance(error, MasivoError):
        code, kind, message = print_error(error), "", ""
    else:
        message = f"interrupted: {error}" if str(error) else "interrupted"
        code, kind = Exit.INTERRUPTED, "Interrupted"
        terminal.note(f"I{message[1:]}.")
    if "--json" in arguments:
        flag = next((_FLAGS[word] for word in arguments if word in _FLAGS), "success")
        known = report(error) if isinstance(error, MasivoError) else describe(kind, message)
        terminal.result_json({flag: False, "error": known})
    return code


def print_error(error: MasivoError, base_url: str | None = None) -> Exit:
    """Print to stderr what went wrong and what to do; return the exit code."""
    code = exit_of(error)
    terminal.fail(str(error))
    if isinstance(error.details, str) and error.details not in error.message:
        terminal.note(terminal.printable(f"The API's details: {error.details}"))
    if code is Exit.NETWORK:
        where = f" to {base_url}" if base_url else ""
        terminal.note(
            f"Check the connection{where}: network, name, proxy (HTTPS_PROXY), and --base-url or "
            "MASIVO_BASE_URL."
        )
    return code
