"""``masivo``: the group of commands, and their exit codes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from masivo import MasivoError, __version__

from . import terminal
from .account import forbid_keys
from .check import check
from .emulator import emulator
from .exits import TABLE, Exit, UsageError, print_error
from .import_file import import_file
from .send import send

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


@click.group(
    epilog=TABLE, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@forbid_keys
@click.version_option(__version__, prog_name="masivo")
def masivo() -> None:
    """Event delivery for the Masivo loyalty platform, from the shell.

    The key is that of MASIVO_API_KEY, or you are asked for it; the address is that of
    MASIVO_BASE_URL, else the public one.
    """


for _command in (check, send, import_file, emulator):
    masivo.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; ``arguments`` defaults to the process's own."""
    given = None if arguments is None else list(arguments)
    try:
        code: object = masivo.main(given, prog_name="masivo", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except UsageError as error:
        terminal.fail(str(error))
        return Exit.USAGE
    except MasivoError as error:
        return print_error(error)
    except (click.Abort, KeyboardInterrupt):
        terminal.note("Interrupted.")
        return Exit.INTERRUPTED
    finally:
        _flush_output()
    return code if isinstance(code, int) else Exit.GOOD


def _flush_output() -> None:
    """Flush what click has printed; its output may be closed."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        terminal.abandon(sys.stdout)
