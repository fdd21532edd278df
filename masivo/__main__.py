"""The command line: `python -m masivo COMMAND`."""

import argparse
import sys
from collections.abc import Sequence

from masivo.emulator import command as emulator


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; `arguments` is by default the process's own."""
    parser = argparse.ArgumentParser(prog="python -m masivo")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    subparser = commands.add_parser(
        "emulator",
        help="run a local server that behaves as the Masivo API does",
        description="Run a local server that behaves as the Masivo API does.",
    )
    emulator.add_arguments(subparser)
    subparser.set_defaults(run=emulator.run)
    chosen = parser.parse_args(arguments)
    code: int = chosen.run(chosen)
    return code


if __name__ == "__main__":
    sys.exit(main())
