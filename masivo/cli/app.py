"""``masivo``: the group of commands, and their exit codes."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

import click

from masivo import MasivoError, __version__

from .account import KEY_OPTIONS, forbid_keys
from .check import check
from .emulator import emulator
from .exits import TABLE, Exit, UsageError, end
from .import_file import import_file
from .relay import relay
from .send import send
from .spool import spool

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


_COMMANDS: Final = {
    **dict.fromkeys(("track", "event", "emit", "post", "publish"), "send"),
    **dict.fromkeys(("login", "auth", "status", "ping", "health", "whoami", "test"), "check"),
    **dict.fromkeys(("upload", "load", "backfill", "batch"), "import"),
    **dict.fromkeys(("server", "serve", "mock", "dev"), "emulator"),
    **dict.fromkeys(
        ("outbox", "queue", "flush", "drain", "replay", "resend", "retry", "export", "rejected"),
        "spool",
    ),
}
"""Commands of other programs, with ours."""
_OPTIONS: Final = {
    **dict.fromkeys(("--url", "--host", "--endpoint", "--upstream", "--server"), "--base-url"),
    **dict.fromkeys(("--bind", "--listen", "--address"), "--host"),
    **dict.fromkeys(("--user", "--user-id", "-c"), "--customer"),
    "-b": "--brand",
    "--format": "--json",
    **dict.fromkeys(("--csv", "--jsonl", "--input-format"), "--format"),
    "--batch": "--batch-size",
    "-p": "--port",
    **dict.fromkeys(("--sep", "--separator"), "--delimiter"),
    **dict.fromkeys(("--workers", "--concurrency", "--parallel", "--threads"), "--in-flight"),
    **dict.fromkeys(("--check", "--validate", "--test"), "--dry-run"),
    "--continue": "--resume",
    **dict.fromkeys(("--force", "--overwrite"), "--restart"),
    **dict.fromkeys(("--errors", "--failed", "--failures"), "--rejected"),
    **dict.fromkeys(("--flush", "--drain", "--retry", "--deliver", "--replay"), "--send"),
    **dict.fromkeys(("--output", "--out"), "--export"),
    **dict.fromkeys(("--dir", "--directory", "--store"), "--spool"),
    **dict.fromkeys(("--flush-interval", "--interval", "--linger"), "--max-wait"),
}
"""Options of other programs, with ours, for the commands that have it."""
_INSTEAD: Final = {
    **dict.fromkeys(
        ("-v", "--verbose", "--debug", "--log-level"),
        "To see each step, set MASIVO_LOG=debug in the environment.",
    ),
    **dict.fromkeys(
        ("-q", "--quiet", "--silent", "--no-progress"),
        "The result goes to stdout, progress and errors to stderr: redirect either to /dev/null.",
    ),
    **dict.fromkeys(("--keys", "--relay-keys", "--client-keys"), "Set MASIVO_RELAY_KEYS."),
    **dict.fromkeys(
        ("--limit", "--skip", "--offset"),
        "To send a part of a file, cut it, for example with head or tail.",
    ),
    **dict.fromkeys(("--file", "-f"), "To send the events of a file: masivo import FILE."),
    "--no-header": "A CSV file needs a header: put one into its first line.",
    **dict.fromkeys(
        ("--delete", "--purge", "--clear"),
        "To delete the events of a spool, end the programs that use it, and delete the directory.",
    ),
}
"""Options of other programs that have no counterpart, and what to do instead."""
_FIELDS: Final = {
    "send": "TYPE is the first argument; other fields of the event are -d KEY=VALUE.",
    "import": "For a field of all events use -d KEY=VALUE, for a column --map FIELD=COLUMN.",
    "spool": "DIR is an argument: masivo spool DIR.",
}
"""For other unknown options of a command: what it takes besides its options."""
_ARGUMENTS: Final = {
    ("send", "extra argument"): _FIELDS["send"],
    ("import", "extra argument"): "An import reads one file (several: cat FILES | masivo import -),"
    " and every KEY=VALUE has a -d, every FIELD=COLUMN a --map before it.",
    ("import", "Missing argument"): "To read standard input: masivo import -",
    ("spool", "extra argument"): "To deliver what is in DIR: masivo spool DIR --send",
    ("relay", "No such command"): "To start a relay: masivo relay --spool DIR (or --redis URL)",
}
"""For an argument too many or too few: the advice, by command and by words of click's error."""


class _Group(click.Group):
    """Names the command that is meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in _COMMANDS:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {_COMMANDS[args[0]]!r}?")
        return super().resolve_command(ctx, args)


def _advised(error: click.NoSuchOption) -> click.NoSuchOption:
    """The error with advice: the option that is meant, else what to do instead."""
    name, command = error.option_name, error.ctx.command if error.ctx is not None else masivo
    ours = _options(command)
    near: list[str] = []
    if command is masivo and any(name in _options(each) for each in masivo.commands.values()):
        advice = f"Options of a command come after it: masivo COMMAND {name}"
    elif _OPTIONS.get(name) in ours:
        advice = f"Did you mean {_OPTIONS[name]!r}?"
    elif name in _INSTEAD:
        advice = _INSTEAD[name]
    else:
        real = (each for each in error.possibilities or () if each not in KEY_OPTIONS)
        near = get_close_matches(name, real, cutoff=0.75)
        advice = "" if near else _FIELDS.get(command.name or "", "")
    return click.NoSuchOption(name, f"No such option {name!r}. {advice}".rstrip(), near, error.ctx)


def _options(command: click.Command) -> set[str]:
    """The names of the options that a command has."""
    return {option for each in command.params for option in each.opts}


def _on_arguments(error: click.UsageError) -> click.UsageError:
    """The error with advice on the command's arguments, if it is about them."""
    message, name = error.format_message(), error.ctx and error.ctx.command.name
    for (command, words), advice in _ARGUMENTS.items():
        if command == name and words in message:
            return click.UsageError(f"{message.rstrip('.')}. {advice}", error.ctx)
    return error


@click.group(
    cls=_Group,
    epilog=TABLE,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@forbid_keys
@click.version_option(__version__, prog_name="masivo")
def masivo() -> None:
    """Event delivery for the Masivo loyalty platform, from the shell.

    The key comes from --key-file, else MASIVO_API_KEY, else a prompt, if there is a terminal. The
    address comes from --base-url, else MASIVO_BASE_URL, else it is the public one.
    """


for _command in (check, send, import_file, spool, relay, emulator):
    masivo.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; ``arguments`` defaults to the process's own."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code: object = masivo.main(given, prog_name="masivo", standalone_mode=False)
    except click.NoSuchOption as error:
        return end(_advised(error), given)
    except click.UsageError as error:
        return end(_on_arguments(error), given)
    except (click.ClickException, click.Abort, KeyboardInterrupt, UsageError, MasivoError) as error:
        return end(error, given)
    return code if isinstance(code, int) else Exit.GOOD
