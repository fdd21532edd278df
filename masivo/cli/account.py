"""The API key and the address for a command. A key is never taken from an argument."""

from __future__ import annotations

import getpass
import os
import shlex
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from masivo._guesses import misnamed
from masivo._protocol.settings import is_set
from masivo.protocol import Secret, configure

from . import terminal
from .exits import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "KEY_OPTIONS",
    "Account",
    "find_account",
    "find_address",
    "find_key",
    "options",
    "forbid_keys",
]

F = TypeVar("F", bound="Callable[..., Any]")

KEY_OPTIONS = ("--api-key", "--key", "--token")
"""Options that do not exist, for which an error says why."""

_NEVER = (
    "an API key is never taken from the command line: it would stay in your shell's history, and "
    "every user of this machine could read it in the list of processes. Set MASIVO_API_KEY, or "
    "leave it out and type the key at the prompt. If it was a real key, create a new one: this one "
    "may have been read"
)


@dataclass(frozen=True, slots=True)
class Account:
    """The API key and the base URL that a command sends with."""

    key: Secret
    base_url: str


def _forbid_key(_context: click.Context, _option: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise UsageError(_NEVER)


def options(command: F) -> F:
    """Add the options that every sending command has."""
    command = click.option(
        "--base-url", metavar="URL", help="Address of the API. Default: MASIVO_BASE_URL."
    )(command)
    command = click.option(
        "--key-file",
        metavar="FILE",
        help="File with the key, readable by you only.",
    )(command)
    return forbid_keys(command)


def forbid_keys(command: F) -> F:
    """Add options for a key that users may type by habit; each is an error that says why."""
    return click.option(
        *KEY_OPTIONS,
        expose_value=False,
        hidden=True,
        is_eager=True,
        callback=_forbid_key,
    )(command)


def find_account(base_url: str | None, key_file: str | None) -> Account:
    """Return the account: its key from the file, MASIVO_API_KEY or a prompt, in this order.

    Raises:
        UsageError: there is no key, or other users can read the file.
        MasivoConfigError: the key or the address is invalid.
    """
    if is_set(os.environ.get("MASIVO_DISABLED", "")):
        raise UsageError("MASIVO_DISABLED is set, so nothing would be sent: unset it")
    given = ["spool"] if base_url is None else ["spool", "base_url"]
    for warning in misnamed(os.environ, given):  # an address that is not read must not go unseen
        terminal.note(f"masivo: {warning}")
    settings = configure(find_key(key_file) or _ask(), environ=os.environ, base_url=base_url)
    return Account(settings.account.api_key, settings.account.base_url)


def find_address(base_url: str | None) -> str:
    """Return the address of the API, without need of a key.

    Raises:
        MasivoConfigError: it is invalid.
    """
    return configure(Secret("none"), environ=os.environ, base_url=base_url).account.base_url


def find_key(key_file: str | None) -> Secret | None:
    """Return the key of the file, else that of MASIVO_API_KEY, else None.

    Raises:
        UsageError: the file cannot be read, or other users can read it.
    """
    if key_file is not None:
        return _read_key(Path(key_file))
    key = os.environ.get("MASIVO_API_KEY")
    return Secret(key) if key else None


def _read_key(path: Path) -> Secret:
    try:
        with path.open(encoding="utf-8-sig") as file:
            _check_private(path, file.fileno())
            key = Secret(file.read(10_000).strip())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UsageError(f"cannot read the key from {path}: {reason}") from None
    if not key.reveal():
        raise UsageError(f"{path} is empty: it should hold the CLIENT key")
    if "MASIVO_API_KEY=" in key.reveal():
        raise UsageError(f"{path} sets a variable: it should hold the CLIENT key, and nothing else")
    return key


def _check_private(path: Path, number: int) -> None:
    """Check that other users cannot read a file.

    Exempt: a pipe, and a file on a read-only mount, as orchestrators mount secrets: its mode cannot
    be changed. A file of another owner may be readable by a group: that is how the owner shares it
    with us.

    Raises:
        UsageError: other users can read it.
    """
    status = os.fstat(number)
    mode, ours = status.st_mode, status.st_uid == os.geteuid()
    others = stat.S_IRWXG | stat.S_IRWXO if ours else stat.S_IRWXO
    if not stat.S_ISREG(mode) or not mode & others:
        return
    if os.fstatvfs(number).f_flag & os.ST_RDONLY:
        return
    name = shlex.quote(str(path))
    cure = (
        f"chmod 600 {name}"
        if ours
        else f"it is not yours, so make a copy that is: install -m 600 {name} ~/masivo-key"
    )
    raise UsageError(
        f"{path} can be read by other users of this machine (mode {stat.S_IMODE(mode):04o}), and "
        f"so can the key in it: {cure}"
    )


def _ask() -> Secret:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "no API key: set MASIVO_API_KEY, pass --key-file, or run this in a terminal, which "
            "asks for it. It must be a CLIENT key"
        )
    try:
        key = Secret(getpass.getpass("CLIENT key (it is not shown): ").strip())
    except EOFError:
        key = Secret("")
    if not key.reveal():
        raise UsageError("no API key was typed")
    return key
