"""`python -m masivo emulator`: run the emulator from a shell until Ctrl-C."""

import argparse
import signal
import sys
import threading
import time
from collections.abc import Sequence

from masivo.emulator.emulator import Emulator
from masivo.emulator.records import RecordedRequest


def run(arguments: Sequence[str], program: str) -> int:
    """Run the emulator until it is interrupted; returns the exit code.

    Must be called in the main thread.

    Args:
        arguments: the arguments after the command's name.
        program: the name shown in its help.
    """
    parser = argparse.ArgumentParser(
        prog=program, description="Run a local server that behaves as the Masivo API does."
    )
    _add_arguments(parser)
    return _run(parser.parse_args(arguments))


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="loopback address (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port (default: a free one)")
    parser.add_argument("--client-key", help="CLIENT key to accept (default: a random one)")
    parser.add_argument("--server-key", help="SERVER key to know (default: a random one)")
    parser.add_argument(
        "--token-ttl", type=float, default=3600.0, metavar="SECONDS", help="default: 3600"
    )
    parser.add_argument(
        "--daily-quota", type=int, metavar="REQUESTS", help="requests a day (default: no limit)"
    )


def _run(arguments: argparse.Namespace) -> int:
    # SIGTERM stops it, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        emulator = Emulator(
            host=arguments.host,
            port=arguments.port,
            client_key=arguments.client_key,
            server_key=arguments.server_key,
            token_ttl=arguments.token_ttl,
            daily_quota=arguments.daily_quota,
        )
        emulator.on_response = _print_request
        with emulator:
            _print(_introduction(emulator))
            threading.Event().wait()
    except KeyboardInterrupt:
        _print("")
    except ValueError as error:
        return _fail(str(error))
    except OSError as error:
        address = f"{arguments.host}:{arguments.port}"
        return _fail(f"cannot listen on {address}: {error.strerror or error}; try another --port")
    return 0


def _introduction(emulator: Emulator) -> str:
    return (
        f"The Masivo emulator listens on {emulator.url}\n"
        f"  CLIENT key: {emulator.client_key}\n"
        f"  SERVER key: {emulator.server_key} (a client refuses to work with it)\n"
        "\n"
        "To send to it, in another shell:\n"
        f"  export MASIVO_BASE_URL={emulator.url}\n"
        f"  export MASIVO_API_KEY={emulator.client_key}\n"
        "\n"
        f"To see what arrives, and to switch faults on: {emulator.inspector_url}\n"
        "\n"
        "Ctrl-C stops it. Requests:"
    )


def _print_request(record: RecordedRequest) -> None:
    at = time.strftime("%H:%M:%S", time.localtime(record.received_at))
    status = "no response" if record.status is None else str(record.status)
    sent = "" if record.events is None else f", {record.accepted} of {len(record.events)} events"
    _print(f"{at} {record.method} {record.path.partition('?')[0]} -> {status}{sent}")


def _print(text: str) -> None:
    print(text, flush=True)


def _fail(message: str) -> int:
    print(f"masivo emulator: {message}", file=sys.stderr)
    return 2
