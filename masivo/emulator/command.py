"""`python -m masivo emulator`: run the emulator from a shell until Ctrl-C."""

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from masivo.emulator.api import CLIENT_KEY
from masivo.emulator.emulator import Emulator
from masivo.emulator.records import RecordedRequest

PORT = 8310
"""The default port. It and the default keys are fixed, so that an emulator that is started again
needs no new settings."""
SERVER_KEY = "emulator-server-key"

_HELP = f"""\
Usage: {{program}} [OPTIONS]

  Run a local server that behaves as the Masivo API does.

  It prints what a client needs to reach it, the address of a page that shows
  what arrives, and a line for each request. Ctrl-C stops it.

Options:
  --host HOST             Loopback address.  [default: 127.0.0.1]
  --port PORT             Port; 0 for any free one.  [default: {PORT}, or any
                          free one while that is in use]
  --client-key KEY        CLIENT key to accept.  [default: {CLIENT_KEY}]
  --server-key KEY        SERVER key to recognise.  [default: {SERVER_KEY}]
  --env-file FILE         Write MASIVO_BASE_URL and MASIVO_API_KEY to FILE.
  --token-ttl SECONDS     Lifetime of a token.  [default: 3600]
  --daily-quota REQUESTS  Requests a day.  [default: no limit]
  -h, --help              Show this message and exit.
"""

_ADVICE = {
    **dict.fromkeys(("--key", "--api-key"), "Did you mean '--client-key'?"),
    **dict.fromkeys(("--quota", "--rate-limit"), "Did you mean '--daily-quota'?"),
    "--ttl": "Did you mean '--token-ttl'?",
    **dict.fromkeys(
        ("--fail", "--fault", "--status", "--delay", "--latency", "--down"),
        "Faults are switched on at the page whose address it prints.",
    ),
}
"""For options that it does not have."""


class _Parser(argparse.ArgumentParser):
    """Prints help and errors in the form of the other commands, without their extra."""

    def format_help(self) -> str:
        return _HELP.format(program=self.prog)

    def error(self, message: str) -> NoReturn:
        given = message.replace("=", " ").split()
        advice = dict.fromkeys(_ADVICE[word] for word in given if word in _ADVICE)
        self.exit(
            2,
            f"Usage: {self.prog} [OPTIONS]\nTry '{self.prog} --help' for help.\n\n"
            f"Error: {'. '.join((message, *advice))}\n",
        )


def run(arguments: Sequence[str], program: str) -> int:
    """Run the emulator until it is interrupted; returns the exit code.

    Args:
        arguments: the arguments after the command's name.
        program: the name shown in its help.
    """
    return _run(make_parser(program).parse_args(arguments))


def make_parser(program: str) -> argparse.ArgumentParser:
    """The command's parser."""
    parser = _Parser(prog=program)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int)
    parser.add_argument("--client-key", default=CLIENT_KEY)
    parser.add_argument("--server-key", default=SERVER_KEY)
    parser.add_argument("--env-file", type=Path)
    parser.add_argument("--token-ttl", type=float, default=3600.0)
    parser.add_argument("--daily-quota", type=int)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    try:
        emulator = start(arguments)
    except ValueError as error:
        return _fail(str(error))
    except OSError as error:
        address = f"{arguments.host}:{PORT if arguments.port is None else arguments.port}"
        return _fail(f"cannot listen on {address}: {error.strerror or error}; try another --port")
    with emulator:
        try:
            if arguments.env_file is not None:
                arguments.env_file.write_text(_settings(emulator), "utf-8")
            _print(_introduction(emulator))
            never = threading.Event()
            while not never.wait(1.0):  # Python sees a signal just before a wait only after it
                pass
        except KeyboardInterrupt:
            _print("")
        except OSError as error:
            return _fail(f"cannot write {arguments.env_file}: {error.strerror or error}")
    return 0


def start(arguments: argparse.Namespace) -> Emulator:
    """A running emulator, on the given port, else on the default one, else on a free one."""

    def emulator(port: int) -> Emulator:
        made = Emulator(
            host=arguments.host,
            port=port,
            client_key=arguments.client_key,
            server_key=arguments.server_key,
            token_ttl=arguments.token_ttl,
            daily_quota=arguments.daily_quota,
        )
        made.on_response = _print_request
        return made.start()

    if arguments.port is not None:
        return emulator(arguments.port)
    try:
        return emulator(PORT)
    except OSError:
        return emulator(0)


def _settings(emulator: Emulator) -> str:
    return f"MASIVO_BASE_URL={emulator.url}\nMASIVO_API_KEY={emulator.client_key}\n"


def _introduction(emulator: Emulator) -> str:
    return (
        f"The Masivo emulator listens on {emulator.url}\n"
        f"  CLIENT key: {emulator.client_key}\n"
        f"  SERVER key: {emulator.server_key} (a client refuses to work with it)\n"
        "\n"
        "To send to it, in another shell:\n"
        + "".join(f"  export {line}\n" for line in _settings(emulator).splitlines())
        + "\n"
        f"To see what arrives, and to switch faults on: {emulator.inspector_url}\n"
        "\n"
        "Ctrl-C stops it. Requests:"
    )


def _print_request(record: RecordedRequest) -> None:
    at = time.strftime("%H:%M:%S", time.localtime(record.received_at))
    status = "no response" if record.status is None else str(record.status)
    sent = "" if record.events is None else f", {record.accepted} of {len(record.events)} events"
    _print(f"{at} {record.method} {record.path.partition('?')[0]} -> {status}{sent}")


_printing = threading.Lock()


def _print(text: str) -> None:
    with _printing:  # lines of several connections must not mix
        print(text, flush=True)


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2
