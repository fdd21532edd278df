"""``masivo emulator``: passes its arguments to the emulator's own parser."""

from __future__ import annotations

import click

__all__ = ["emulator"]


@click.command(
    add_help_option=False,
    short_help="Run a local server that behaves as the API does.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def emulator(arguments: tuple[str, ...]) -> int:
    """Run a local server that behaves as the Masivo API does."""
    from masivo.emulator.command import run  # the other commands need no server

    return run(arguments, "masivo emulator")
