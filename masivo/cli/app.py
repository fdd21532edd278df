"""``masivo``: the group of commands, and their exit codes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

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


@click.group(
    epilog=TABLE, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@forbid_keys
@click.version_option(__version__, prog_name="masivo")
def masivo() -> None:
    """Event delivery for the Masivo loyalty platform, from the shell.

    The key comes from MASIVO_API_KEY, else from a prompt; the address from MASIVO_BASE_URL, else it
    is the public one.
    """


for _command in (check, send, import_file, spool, relay, emulator):
    masivo.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; ``arguments`` defaults to the process's own."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code: object = masivo.main(given, prog_name="masivo", standalone_mode=False)
    except click.NoSuchOption as error:
        real = [name for name in error.possibilities or () if name not in KEY_OPTIONS]
        return end(click.NoSuchOption(error.option_name, possibilities=real, ctx=error.ctx), given)
    except (click.ClickException, click.Abort, KeyboardInterrupt, UsageError, MasivoError) as error:
        return end(error, given)
    return code if isinstance(code, int) else Exit.GOOD
