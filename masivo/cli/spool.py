"""``masivo spool``: show, send or export the events of a spool."""

from __future__ import annotations

import os
import shlex
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from masivo._protocol.events.form import complete
from masivo._protocol.wire.dates import format_stamp
from masivo.spool.survey import Survey

from . import terminal
from .account import find_account, find_address, find_key, options
from .exits import TABLE, Exit, UsageError, describe, print_error, report
from .export import export as export_lines
from .terminal import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from masivo.protocol import Secret
    from masivo.spool.survey import SurveyedLog

    from .account import Account
    from .sending import Sent

__all__ = ["spool", "survey_of"]


@click.command(epilog=TABLE, short_help="Show, send or export the events of a spool.")
@click.argument("directory", metavar="[DIR]", default="", envvar="MASIVO_SPOOL", type=click.Path())
@click.option("--export", metavar="FILE", help="Write the events to FILE (- is standard output).")
@click.option(
    "--rejected",
    is_flag=True,
    help="Print the rejected events with their errors, for `masivo import`; with --export, write "
    "them to FILE.",
)
@click.option("--send", is_flag=True, help="Deliver what was left; running clients keep theirs.")
@click.option(
    "--replaced-key",
    is_flag=True,
    help="With --send: also events that were left under other keys, with the same address.",
)
@click.option(
    "--replaced-url",
    metavar="URL",
    help="With --send: also events that were left for this address, which was mistyped or is no "
    "longer used.",
)
@click.option(
    "--in-flight",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="With --send: concurrent batches. Order is kept for each customer.",
)
@options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for scripts.")
def spool(
    directory: str,
    export: str | None,
    rejected: bool,
    send: bool,
    replaced_key: bool,
    replaced_url: str | None,
    in_flight: int,
    base_url: str | None,
    key_file: str | None,
    as_json: bool,
) -> Exit:
    """Show the content of DIR, the directory of a spool (default: MASIVO_SPOOL).

    Only --send changes anything: it delivers the events of processes that have ended; Ctrl-C
    loses nothing. --export and --rejected write JSON Lines.

    \b
    masivo spool var/masivo
    masivo spool var/masivo --send
    masivo spool var/masivo --export events.jsonl
    masivo spool var/masivo --rejected > rejected.jsonl
    """
    if not directory:
        raise UsageError("there is no DIR: give the directory of the spool, or set MASIVO_SPOOL")
    if send and (rejected or export is not None):
        raise UsageError("--send cannot be combined with --export and --rejected: one at a time")
    if (replaced_key or replaced_url) and not send:
        raise UsageError("--replaced-key and --replaced-url are for --send")
    path = os.path.abspath(directory)  # noqa: PTH100
    survey = survey_of(path)
    try:
        if send:
            account = find_account(base_url, key_file)
            from .sending import send_left  # it imports the client

            sent = send_left(
                path,
                account,
                in_flight=in_flight,
                replaced_key=replaced_key,
                replaced_url=replaced_url,
            )
            return _conclude(path, sent, account, as_json)
        if rejected:
            return export_lines(survey.rejected(), export or "-", "rejected event", as_json)
        if export is not None:
            return export_lines(_events(survey), export, "event", as_json)
        return _show(path, survey, find_key(key_file), find_address(base_url), as_json)
    except OSError as error:
        raise UsageError(_unreadable(path, error)) from None


def survey_of(path: str) -> Survey:
    """Return the survey of a spool.

    Raises:
        UsageError: it is none, or cannot be read.
    """
    survey = Survey(path)
    try:
        if survey.is_spool():
            return survey
    except FileNotFoundError:
        raise UsageError(
            f"there is no directory {path}: name the one that was given to the client, or to the "
            "relay, as its spool (a relative path counts from the directory in which that program "
            "was started)"
        ) from None
    except NotADirectoryError:
        raise UsageError(f"{path} is a file: name the directory that it is in") from None
    except OSError as error:
        raise UsageError(_unreadable(path, error)) from None
    raise UsageError(
        f"{path} is not a spool: no file of a spool is in it. Name the directory that was given "
        "to the client, or to the relay, as its spool"
    )


def _unreadable(path: str, error: OSError) -> str:
    """The message for files that cannot be read."""
    with suppress(OSError):
        owner = Path(path).stat().st_uid
        if isinstance(error, PermissionError) and owner != os.geteuid():
            return (
                f"{path} belongs to another user (uid {owner}, you are {os.geteuid()}), and its "
                f"owner alone can read it: run this as that user, with sudo -u '#{owner}'"
            )
    where = error.filename if isinstance(error.filename, str) else path
    return f"cannot read {where}: {error.strerror or error}"


# ── What lies there ──────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Part:
    """The logs of one account that are held, or those that are left."""

    logs: int = 0
    events: int = 0
    bytes: int = 0
    oldest: float | None = None

    def add(self, log: SurveyedLog) -> None:
        self.logs += 1
        self.events += log.events
        self.bytes += log.bytes
        times = [each for each in (self.oldest, log.oldest) if each is not None]
        self.oldest = min(times, default=None)

    def as_json(self) -> dict[str, object]:
        oldest = None if self.oldest is None else format_stamp(self.oldest).decode()
        return {
            "logs": self.logs,
            "events": self.events,
            "bytes": self.bytes,
            "oldest": oldest,
        }


@dataclass(slots=True)
class _Account:
    """The logs of one account."""

    fingerprint: str | None
    base_url: str | None
    is_present: bool | None
    """True if it is that of the present key; None: no key is set."""
    left: _Part = field(default_factory=_Part)
    held: _Part = field(default_factory=_Part)
    damaged: int = 0

    def as_json(self) -> dict[str, object]:
        return {
            "account": self.fingerprint,
            "base_url": self.base_url,
            "present_key": self.is_present,
            "left": self.left.as_json(),
            "held": self.held.as_json(),
            "damaged": self.damaged,
        }


def _accounts(logs: Iterable[SurveyedLog], key: Secret | None) -> list[_Account]:
    """Sum the logs up by their accounts; those with the present key come first."""
    found: dict[tuple[str | None, str | None], _Account] = {}
    for log in logs:
        account = found.get((log.account, log.base_url))
        if account is None:
            is_present = None if key is None else log.is_of(key.reveal())
            account = _Account(log.account, log.base_url, is_present)
            found[log.account, log.base_url] = account
        (account.held if log.held else account.left).add(log)
        account.damaged += log.damaged
    return sorted(found.values(), key=lambda each: not each.is_present)


def _show(path: str, survey: Survey, key: Secret | None, address: str, as_json: bool) -> Exit:
    accounts = _accounts(survey.logs(), key)
    rejected = sum(1 for _ in survey.rejected())
    files, size = survey.damaged()
    if as_json:
        terminal.result_json(
            {
                "directory": path,
                "accounts": [account.as_json() for account in accounts],
                "rejected": rejected,
                "damaged": {"files": files, "bytes": size},
            }
        )
        return Exit.GOOD
    if not (accounts or rejected or files):
        terminal.result(
            f"There is nothing in {path}: no client holds a log there, and none left one."
        )
        return Exit.GOOD
    for account in accounts:
        _show_account(account)
    if rejected:
        terminal.result(f"Rejected events, kept for 30 days: {rejected:,}")
    if files:
        terminal.result(f"Damaged parts of logs, kept for 30 days: {_bytes(size)} in *.bad")
    name = shlex.quote(path)
    for note in dict.fromkeys(
        _to_send(account, name, address) for account in accounts if account.left.events
    ):
        terminal.note(note)
    if rejected:
        terminal.note(f"To see the rejected events: masivo spool {name} --rejected")
    return Exit.GOOD


def _to_send(account: _Account, name: str, address: str) -> str:
    """The command that sends what was left of an account, and the condition for it."""
    command = f"masivo spool {name} --send"
    present: list[str] = []
    if account.is_present is False:
        command += " --replaced-key"
        present.append("the present key")
    if account.base_url not in (None, address):
        command += f" --replaced-url {shlex.quote(terminal.printable(account.base_url))}"
        present.append(address)
    if not present:
        return f"To deliver what was left: {command}"
    replace = "replaces the other" if len(present) == 1 else "replace the others"
    return f"If {' and '.join(present)} {replace}: {command}"


def _show_account(account: _Account) -> None:
    if account.fingerprint is None:
        logs = account.left.logs + account.held.logs
        terminal.result(f"{count(logs, 'log')} of a newer version of masivo: update masivo")
        return
    whose = {True: ", the present key", False: ", another key", None: ""}[account.is_present]
    url = terminal.printable(account.base_url or "an address that cannot be read any more")
    terminal.result(f"{url}, account {account.fingerprint}{whose}")
    for what, part in (("left", account.left), ("held by a running client", account.held)):
        if part.logs:
            events = f"{count(part.events, 'event')} in {count(part.logs, 'log')}"
            terminal.result(f"  {what}: {events}{_size_and_age(part)}")
    if account.damaged:
        terminal.result(f"  damaged: {count(account.damaged, 'part')} that cannot be read")


def _size_and_age(part: _Part) -> str:
    if part.oldest is None:
        return ""
    stamp = format_stamp(part.oldest).decode()[:16].replace("T", " ")
    age = _age(time.time() - part.oldest)
    return f", {_bytes(part.bytes)}; the oldest is from {stamp} UTC, {age} ago"


def _bytes(size: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"


def _age(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


# ── Export ───────────────────────────────────────────────────────────────────────────────────


def _events(survey: Survey) -> Iterator[bytes]:
    for stored in survey.events():
        yield complete(stored.event, stored.at)


# ── Sending ──────────────────────────────────────────────────────────────────────────────────


def _conclude(path: str, sent: Sent, account: Account, as_json: bool) -> Exit:
    """Print the result, and the next command; return the exit code."""
    code = Exit.EVENTS_REJECTED if sent.rejected else Exit.GOOD
    error: Mapping[str, object] | None = None
    if sent.error is not None:
        code, error = print_error(sent.error, account.base_url), report(sent.error)
    elif sent.interrupted:
        terminal.note("Interrupted.")
        code, error = Exit.INTERRUPTED, describe("Interrupted", "interrupted")
    complete = not (sent.left or sent.interrupted)
    if as_json:
        result: dict[str, object] = {
            "complete": complete,
            "delivered": sent.delivered,
            "rejected": sent.rejected,
            "left": sent.left,
        }
        if error is not None:
            result["error"] = error
        terminal.result_json(result)
    elif complete and not sent.delivered + sent.rejected:
        terminal.result(
            f"Nothing was left in {path} for this key and {account.base_url}. To see what lies "
            f"there: masivo spool {shlex.quote(path)}"
        )
    else:
        so_far = "All done" if complete else "So far"
        terminal.result(
            f"{so_far}: {count(sent.delivered, 'event')} delivered, {sent.rejected:,} rejected."
        )
    name = shlex.quote(path)
    if sent.rejected:
        terminal.note(f"The rejected events, with their errors: masivo spool {name} --rejected")
    if not complete:
        terminal.note(
            f"{count(sent.left, 'event')} {'is' if sent.left == 1 else 'are'} still in {path}, and "
            f"will be sent later: by the next client of this key, or by masivo spool {name} --send"
        )
    return code
