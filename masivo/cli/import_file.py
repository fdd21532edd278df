"""``masivo import``: the events of a file."""

from __future__ import annotations

import fcntl
import shlex
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from masivo import Client, MasivoValidationError

from . import terminal
from .account import Account, find_account, options
from .exits import TABLE, Exit, UsageError, describe, print_error, report
from .fields import utf8
from .importing.documented import problem_of
from .importing.importer import Importer, make_client, reason_of
from .importing.ledger import Ledger
from .importing.lines import DamagedInputError, Lines, open_lines
from .importing.progress import Sample, show
from .importing.records import Shape, read
from .importing.rejects import Rejects
from .importing.shapes import check_encoding, delimiter_of, format_of, plain_shape
from .importing.state import State, StateFile

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["import_file"]


@dataclass(frozen=True, slots=True)
class _Job:
    """The arguments of one import."""

    name: str
    shape: Shape
    base_url: str | None
    key_file: str | None
    rejected: str | None
    state: str | None
    resume: bool
    restart: bool
    batch_size: int
    in_flight: int
    retries: int
    as_json: bool

    def resume_command(self) -> str:
        words = ["masivo", "import", self.name]
        for option, value in (
            ("--state", self.state),
            ("--base-url", self.base_url),
            ("--key-file", self.key_file),
        ):
            words += [option, value] if value is not None else []
        return shlex.join([*words, "--resume"])


@click.command("import", epilog=TABLE, short_help="Send the events of a file.")
@click.argument("name", metavar="FILE")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["jsonl", "csv"]),
    help="Default: csv for names that end in .csv or .tsv (.gz too), else jsonl.",
)
@click.option(
    "--map",
    "rules",
    type=utf8,
    multiple=True,
    metavar="FIELD=COLUMN[:KIND]",
    help="CSV: the column of a field: --map product.value=price:number. KIND is text, number, bool "
    "or json; default: the type that the API expects, else text. Without --map, every column is "
    "the field of its name.",
)
@click.option(
    "-d",
    "--data",
    type=utf8,
    multiple=True,
    metavar="KEY=VALUE",
    help="A field for every event without it: -d type=ADD_TO_CART.",
)
@click.option("--brand", type=utf8, metavar="ID", help="Brand ID of events without one.")
@click.option("--no-brand", is_flag=True, help="Send brand_id null in events without a brand.")
@click.option(
    "--delimiter",
    type=utf8,
    metavar="CHAR",
    help="CSV: default a comma, for .tsv a tab; 'tab' for tabs.",
)
@click.option(
    "--quote/--no-quote",
    default=None,
    help="CSV: whether quotation marks enclose values; default: yes, but not with tabs. A quoted "
    "value may span several lines. If each of these lines looks like a row of the file, as after a "
    "stray quotation mark, the import stops. To have such lines taken as one row, write --quote in "
    "the command, even where it is the default.",
)
@click.option("--encoding", default="utf-8", show_default=True, help="CSV: how text is encoded.")
@click.option("--dry-run", is_flag=True, help="Send nothing; print every invalid line.")
@click.option("--resume", is_flag=True, help="Continue an earlier run.")
@click.option("--restart", is_flag=True, help="Start over, although there was an earlier run.")
@click.option(
    "--rejected", metavar="PATH", help="File for rejected events. Default: FILE.rejected.jsonl."
)
@click.option(
    "--state",
    metavar="PATH",
    help="File with the progress, for --resume. Default: FILE.masivo-import.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="Events in a batch.",
)
@click.option(
    "--in-flight",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Concurrent batches; above 1, order is kept for each customer.",
)
@click.option(
    "--retries",
    type=click.IntRange(0, 100),
    default=8,
    show_default=True,
    help="Retries of a batch.",
)
@options
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def import_file(
    name: str,
    format_: str | None,
    rules: tuple[str, ...],
    data: tuple[str, ...],
    brand: str | None,
    no_brand: bool,
    delimiter: str | None,
    quote: bool | None,
    encoding: str,
    dry_run: bool,
    resume: bool,
    restart: bool,
    rejected: str | None,
    state: str | None,
    batch_size: int,
    in_flight: int,
    retries: int,
    base_url: str | None,
    key_file: str | None,
    as_json: bool,
) -> Exit:
    """Send the events of FILE: JSON Lines or CSV, gzip or not; - is standard input.

    Rejected events are written, with the reason, to a file that you can correct and import.
    Ctrl-C loses nothing: --resume continues. (What was read from standard input and not
    delivered goes to the file of rejected events.)

    \b
    masivo import events.jsonl --dry-run
    masivo import events.jsonl
    masivo import orders.csv --brand shoes -d type=ORDER_PLACED \\
        --map customer_id=customer --map order.value=total:number
    """
    if brand is not None and no_brand:
        raise UsageError("--brand and --no-brand cannot be combined")
    if resume and restart:
        raise UsageError("--resume and --restart cannot be combined")
    shape = Shape(
        format_ or format_of(name),
        delimiter_of(name, delimiter),
        encoding,
        quote,
        rules,
        data,
        brand,
        no_brand,
        guessed=format_ is None,
    )
    if shape.format == "jsonl":
        for option, given in (
            ("--map", rules or None),
            ("--delimiter", delimiter),
            ("--no-quote" if quote is False else "--quote", quote),
        ):
            if given is not None:
                raise UsageError(
                    f"{option} is for CSV, and {name} is taken for JSON Lines: add --format csv"
                )
    check_encoding(encoding)
    job = _Job(
        name=name,
        shape=shape,
        base_url=base_url,
        key_file=key_file,
        rejected=rejected,
        state=state,
        resume=resume,
        restart=restart,
        batch_size=batch_size,
        in_flight=in_flight,
        retries=retries,
        as_json=as_json,
    )
    try:
        return _dry_run(job) if dry_run else _run(job)
    except DamagedInputError as error:
        raise UsageError(f"{name}: {error}") from None


# ── Dry run ──────────────────────────────────────────────────────────────────────────────────


def _dry_run(job: _Job) -> Exit:
    good = bad = 0
    with (
        open_lines(job.name) as lines,
        Client(enabled=False) as client,
    ):  # it validates like any other, and sends nothing
        for record in read(lines, job.shape, lambda _: False):
            problem = record.problem
            if problem is None:
                event = cast("Mapping[str, object]", record.event)
                try:
                    client.send_analytics_event(event)
                    problem = problem_of(event)
                except MasivoValidationError as error:
                    problem = reason_of(error)
            if problem is None:
                good += 1
                continue
            bad += 1
            if not job.as_json:
                terminal.result(terminal.printable(f"line {record.line}: {problem}"))
            else:
                terminal.result_json({"line": record.line, "reason": problem})
    if job.as_json:
        terminal.result_json({"dry_run": True, "good": good, "bad": bad})
    else:
        terminal.result(
            f"{terminal.count(good, 'event')} valid, {bad:,} invalid. Nothing was sent."
        )
    return Exit.EVENTS_REJECTED if bad else Exit.GOOD


# ── Sending ──────────────────────────────────────────────────────────────────────────────────


def _run(job: _Job) -> Exit:
    if job.name == "-":
        _check_no_resume(job)  # before waiting for input
    with open_lines(job.name) as lines:
        if lines.is_stream:
            _check_no_resume(job)
        _lock(job, lines)
        account = find_account(job.base_url, job.key_file)
        file = (
            None if lines.is_stream else StateFile(Path(job.state or f"{job.name}.masivo-import"))
        )
        old = None if file is None or job.restart else file.load()
        if file is not None and old is not None and old.delivered == 0 and not job.resume:
            _check_options(job)
            Rejects(Path(old.rejected_file)).remove(old.rejected_size, file.path)
            old = None  # to begin anew sends nothing twice
        known = None if old is None else old.rejected_file
        state = _begin(job, account, lines) if old is None else _resume(job, account, old)
        rejects = Rejects(Path(state.rejected_file))
        if file is not None and file.path.absolute() == rejects.path:
            raise UsageError(f"--state and --rejected both name {rejects.path}: name two files")
        if state.rejected_file != known:
            # Standard input has no state, and jobs that read it do so again and again.
            rejects.check(new=not lines.is_stream)
        if old is not None:
            _check_unchanged(job, state)
            rejects.resume(state.rejected_size, state.covers)
        ledger = Ledger(state, file, rejects, in_order=job.in_flight == 1)
        return _import(job, account, lines, ledger)


def _check_no_resume(job: _Job) -> None:
    if job.resume or job.restart or job.state is not None:
        raise UsageError("standard input cannot be resumed: save it to a file first")


def _lock(job: _Job, lines: Lines) -> None:
    """Prevent a second import of the same file until this one is closed."""
    try:
        if not lines.is_stream:
            fcntl.flock(lines.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(f"another masivo import of {job.name} is running") from None
    except OSError:
        pass  # some network file systems have no locks


def _begin(job: _Job, account: Account, lines: Lines) -> State:
    name = "stdin" if lines.is_stream else job.name
    if job.resume:
        terminal.note("No import of this file was started: starting with its first line.")
    rejected = Path(job.rejected or f"{name}.rejected.jsonl").absolute()
    return State(account.base_url, job.shape, str(rejected))


def _resume(job: _Job, account: Account, old: State) -> State:
    if not job.resume:
        raise UsageError(
            f"{job.name} was imported before: {terminal.count(old.delivered, 'event')} delivered, "
            f"{old.rejected:,} rejected, "
            + ("all of it. " if old.finished else "but not to its end. ")
            + "--resume continues after what is done; --restart starts over, and sends again what "
            "has been delivered"
        )
    if not old.delivered:
        old.base_url = account.base_url  # the old one may have been mistyped
    if old.base_url != account.base_url:
        raise UsageError(
            f"this import was started at {old.base_url}, and now the address is "
            f"{account.base_url}: continue with --base-url {old.base_url}, or --restart here"
        )
    if job.shape not in (old.shape, plain_shape(job.name)):
        raise UsageError(
            "this import was started with other options for its lines (--format, --map, -d, "
            "--brand and so on); --resume keeps those: leave these out"
        )
    if job.shape.quote is not None:  # the advice for a quotation mark that is not closed
        old.shape = replace(old.shape, quote=job.shape.quote)
    if job.rejected is not None and str(Path(job.rejected).absolute()) != old.rejected_file:
        old.rejected_file, old.rejected_size = str(Path(job.rejected).absolute()), 0
    old.finished = False
    return old


def _check_options(job: _Job) -> None:
    """Raise UsageError for options that do not fit the file, before an earlier run is forgotten."""
    with open_lines(job.name) as lines:
        next(read(lines, job.shape, lambda _: False), None)


def _check_unchanged(job: _Job, state: State) -> None:
    """Raise UsageError for a file that does not begin with the imported lines."""
    with open_lines(job.name) as lines:
        for _ in islice(lines, state.high):
            pass
    if lines.number < state.high or lines.crc != state.crc:
        raise UsageError(
            f"{job.name} has changed: its first {state.high:,} lines are not those that "
            "were imported. Restore the old file to continue; --restart imports this one from its "
            "first line"
        )


def _import(job: _Job, account: Account, lines: Lines, ledger: Ledger) -> Exit:
    state = ledger.state
    display = show(lines.size, Sample(state.delivered, state.rejected, 0))
    ledger.save()  # find out whether it can be written before anything is sent
    client = make_client(
        account, batch_size=job.batch_size, in_flight=job.in_flight, retries=job.retries
    )
    importer = Importer(
        client,
        ledger,
        lines,
        display,
        batch_size=job.batch_size,
        in_flight=job.in_flight,
        wary=not job.resume,
    )
    complete, damage = False, None
    try:
        complete = importer.run(read(lines, state.shape, state.covers))
    except (DamagedInputError, UsageError) as error:
        if state.high == 0 and not importer.sent:
            raise  # it is about the file as a whole: there is nothing to tell of an import
        damage = error
    finally:
        display.close()
    undone = len(ledger.undone())
    if complete:
        ledger.complete(lines.number, lines.crc)
    elif lines.is_stream:
        ledger.reject_undone()
    ledger.close()
    return _conclude(job, ledger, importer, lines, undone, damage)


def _conclude(
    job: _Job,
    ledger: Ledger,
    importer: Importer,
    lines: Lines,
    undone: int,
    damage: Exception | None,
) -> Exit:
    """Print the result, and how to resume; return the exit code."""
    state = ledger.state
    code, error = _say_why_it_ended(job, ledger, importer, damage)
    if job.as_json:
        result: dict[str, object] = {
            "complete": state.finished,
            "delivered": state.delivered,
            "rejected": state.rejected,
            "rejected_file": state.rejected_file if state.rejected else None,
            "without_outcome": undone,
        }
        if error is not None:
            result["error"] = error
        terminal.result_json(result)
    else:
        so_far = "All done" if state.finished else "So far"
        delivered = terminal.count(state.delivered, "event")
        terminal.result(f"{so_far}: {delivered} delivered, {state.rejected:,} rejected.")
    if state.rejected:
        for reason in ledger.reasons:
            terminal.note(terminal.printable(reason))
        if state.rejected > len(ledger.reasons) > 0:
            terminal.note("…")
        terminal.note(
            f"The rejected events are in {state.rejected_file}, with their reasons.\n"
            f"Correct them there, then: {shlex.join(['masivo', 'import', state.rejected_file])}"
        )
    if not state.finished:
        _say_how_to_resume(job, lines, undone, sent=importer.sent, probed=ledger.probing)
    return code


def _say_why_it_ended(
    job: _Job, ledger: Ledger, importer: Importer, damage: Exception | None
) -> tuple[Exit, Mapping[str, object] | None]:
    """Print what ended the import, other than the end of its lines; return the exit code, and the
    error as JSON."""
    state = ledger.state
    code = Exit.EVENTS_REJECTED if state.rejected else Exit.GOOD
    error: Mapping[str, object] | None = None
    if ledger.failure is not None:
        code, error = print_error(ledger.failure, state.base_url), report(ledger.failure)
        if ledger.probing:
            terminal.note(
                "This event was sent alone, as all events so far seem to break rules of the API. "
                "No other was sent. Add --dry-run to see the problem of each line. To send them "
                "anyway, resume the import."
            )
    elif importer.all_rejected:
        why = (
            f"the API rejected all {ledger.rejections:,} events that were sent. It will probably "
            "reject the others, too, so the import has stopped"
        )
        terminal.fail(why)
        error = describe("MasivoError", why)
    elif damage is not None:
        terminal.fail(f"{job.name}: {damage}")
        code, error = Exit.USAGE, describe("UsageError", f"{job.name}: {damage}")
    elif importer.interrupted:
        terminal.note("Interrupted.")
        code, error = Exit.INTERRUPTED, describe("Interrupted", "interrupted")
    return code, error


def _say_how_to_resume(job: _Job, lines: Lines, undone: int, *, sent: bool, probed: bool) -> None:
    if lines.is_stream:
        terminal.note(
            f"{lines.number:,} lines of standard input were read; those that were not "
            "delivered are in the file of rejected events. The rest was not read."
        )
        return
    if undone and sent and not probed:
        terminal.note(
            f"Without an outcome: {terminal.count(undone, 'event')}. --resume sends these "
            "again; what has reached the API may then count twice."
        )
    terminal.note(f"To resume: {job.resume_command()}")
