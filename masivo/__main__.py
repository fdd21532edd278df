"""The command line: ``masivo COMMAND``, or ``python -m masivo COMMAND``.

The emulator runs without the extra ``masivo[cli]``; the other commands need it.
"""

import sys
from collections.abc import Sequence

_NEEDS_EXTRA = (
    "masivo: this command needs an extra: pip install 'masivo[{}]' "
    "(only `masivo emulator` works without it)"
)
_HELP = """\
Usage: masivo [OPTIONS] COMMAND [ARGS]...

  Event delivery for the Masivo loyalty platform, from the shell.

Options:
  --version   Show the version and exit.
  -h, --help  Show this message and exit.

Commands:
  emulator  Run a local server that behaves as the API does.

With the extra (pip install 'masivo[cli]'):
  check     Check the key.
  send      Send one event.
  import    Send the events of a file.
  spool     Show, send or export the events of a spool.

With the extra masivo[relay]:
  relay     Run a relay: a service that keeps events and delivers them.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; ``arguments`` is by default the process's own."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    match given:
        case ["help", *command]:  # as git has it
            given = [*command, "--help"]
        case ["version"]:
            given = ["--version"]
        case _:
            pass
    try:
        if arguments is None:
            _own_process()
        return _run(given)
    except KeyboardInterrupt as interrupt:  # the imports take longer than most commands
        if given[:1] == ["emulator"]:
            return 0
        from masivo.cli.exits import end

        return end(interrupt, given)


def _own_process() -> None:
    """Prepare the streams and signals of a process that runs nothing but the command."""
    import signal

    from masivo.cli.streams import open_streams

    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    open_streams()


def _run(given: Sequence[str]) -> int:
    if given[:1] == ["emulator"]:
        from masivo.emulator.command import run  # the other commands need no server

        return run(given[1:], "masivo emulator")
    try:
        from masivo.cli.app import main as cli_main
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        return _without_extra(given)
    return cli_main(given)


def _without_extra(given: Sequence[str]) -> int:
    """Run what needs neither click nor rich; return the exit code."""
    match given:
        case [] | ["--help" | "-h", *_]:
            print(_HELP, end="")
        case ["--version", *_]:
            from masivo import __version__

            print(f"masivo, version {__version__}")
        case _:
            extra = "relay" if given[0] == "relay" else "cli"
            known = f"\n  {given[0]} " in _HELP
            print(
                _NEEDS_EXTRA.format(extra)
                if known
                else f"masivo: there is no command {given[0]!r} (masivo --help lists them)",
                file=sys.stderr,
            )
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
