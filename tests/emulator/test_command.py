"""`python -m masivo emulator` from a shell."""

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from masivo.__main__ import main
from masivo.emulator import Emulator, RecordedRequest
from masivo.emulator.api import CLIENT_KEY
from masivo.emulator.command import _print_request, make_parser, start

from .clients import connected


def command(*arguments: str) -> list[str]:
    """Return the command line."""
    return [sys.executable, "-W", "error", "-m", "masivo", "emulator", *arguments]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_runs_until_it_is_interrupted(stop: signal.Signals) -> None:
    """It prints how to reach it and a line for each request, without its query, which may hold a
    secret, and ends without a traceback."""
    with subprocess.Popen(
        command("--client-key", "my-key"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines: dict[str, str] = {}
        line = ""
        while not line.startswith("Ctrl-C"):
            line = process.stdout.readline()
            assert line, "it ended too early"
            name, _, value = line.strip().removeprefix("export ").partition("=")
            lines[name] = value
        assert lines["MASIVO_API_KEY"] == "my-key"
        parts = urlsplit(lines["MASIVO_BASE_URL"])
        assert f"To see what arrives, and to switch faults on: http://{parts.netloc}/" in lines
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
        path = f"{parts.path}/auth/authorize?secret=1"
        connection.request("GET", path, headers={"x-api-key": "my-key"})
        assert connection.getresponse().status == 200
        process.send_signal(stop)
        rest, errors = process.communicate(timeout=5)
        connection.close()
    assert "GET /api/storefront/v1/auth/authorize -> 200" in rest
    assert "secret" not in rest
    assert errors == ""
    assert process.returncode == 0


def test_its_help_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """What it does, and every option."""
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["emulator", "--help"])
    said = capsys.readouterr().out
    assert "Run a local server that behaves as the Masivo API does." in said
    for option in ("--host", "--port", "--client-key", "--server-key", "--token-ttl SECONDS"):
        assert option in said
    assert "--daily-quota REQUESTS" in said


def _a_record(emulator: Emulator) -> RecordedRequest:
    """A batch, as the emulator has recorded it."""
    with connected(emulator) as client:
        client.send(client.token())
    return emulator.requests[-1]


def test_a_line_has_the_time_of_its_request(capsys: pytest.CaptureFixture[str]) -> None:
    """That of the emulator's clock, here."""
    with Emulator() as emulator:
        record = _a_record(emulator)
    at = time.strftime("%H:%M:%S", time.localtime(1_000_000_000))
    _print_request(replace(record, received_at=1_000_000_000.5))
    said = capsys.readouterr().out
    assert said == f"{at} POST /api/storefront/v1/behavior/events/bulk -> 200, 1 of 1 events\n"


def test_it_survives_a_closed_output() -> None:
    """It responds although its output is closed."""
    reading, writing = os.pipe()
    with subprocess.Popen(command("--server-key", "s"), stdout=writing) as process:
        os.close(writing)
        with os.fdopen(reading) as output:
            url = output.readline().split()[-1]
            while "Ctrl-C" not in output.readline():
                pass
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
        for _ in range(3):
            connection.request("GET", f"{parts.path}/x")
            response = connection.getresponse()
            response.read()
            assert response.status == 404
        connection.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=5) == 0


def test_the_settings_are_those_of_the_last_start(tmp_path: Path) -> None:
    """The keys are fixed, and the settings are also in a file for programs that read one."""
    file = tmp_path / ".env"
    for _ in range(2):
        with subprocess.Popen(
            command("--env-file", str(file)), stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            said = "".join(iter(process.stdout.readline, "Ctrl-C stops it. Requests:\n"))
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=5)
        address, key = file.read_text("utf-8").splitlines()
        assert address.startswith("MASIVO_BASE_URL=http://127.0.0.1:")
        assert key == f"MASIVO_API_KEY={CLIENT_KEY}"
        assert f"  export {address}\n  export {key}\n" in said


def test_a_taken_default_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the default port is in use, a free one is taken."""
    options = make_parser("masivo emulator").parse_args([])
    with Emulator() as taken:
        monkeypatch.setattr("masivo.emulator.command.PORT", urlsplit(taken.url).port)
        with start(options) as emulator:
            assert emulator.url != taken.url
    with start(options) as emulator:
        assert emulator.url == taken.url


def test_an_env_file_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is one clear line and exit code 2."""
    file = tmp_path / "missing" / ".env"
    assert main(["emulator", "--port", "0", "--env-file", str(file)]) == 2
    assert capsys.readouterr().err == f"error: cannot write {file}: No such file or directory\n"


def test_an_unknown_option(capsys: pytest.CaptureFixture[str]) -> None:
    """It is reported in the form of the other commands."""
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["emulator", "--prot", "1"])
    assert capsys.readouterr().err == (
        "Usage: masivo emulator [OPTIONS]\nTry 'masivo emulator --help' for help.\n\n"
        "Error: unrecognized arguments: --prot 1\n"
    )


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["--key", "k"], "--key k. Did you mean '--client-key'?\n"),
        (["--quota=3"], "--quota=3. Did you mean '--daily-quota'?\n"),
        (
            ["--fail", "503", "--delay", "2"],
            "2. Faults are switched on at the page whose address it prints.\n",
        ),
    ],
)
def test_advice_for_guessed_options(
    arguments: list[str], advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the option that is meant, or the page that does it."""
    with pytest.raises(SystemExit):
        main(["emulator", *arguments])
    assert capsys.readouterr().err.endswith(advice)


def test_lines_do_not_run_together(emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    """Each request has a line of its own, however many are answered at once."""
    record = _a_record(emulator)

    def print_many() -> None:
        for _ in range(50):
            _print_request(record)

    threads = [threading.Thread(target=print_many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 400
    assert len(set(said)) == 1


def test_a_taken_port(capsys: pytest.CaptureFixture[str]) -> None:
    """A port in use is one clear line and exit code 2."""
    with Emulator() as emulator:
        port = urlsplit(emulator.url).port
        assert main(["emulator", "--port", str(port)]) == 2
    assert (
        f"cannot listen on 127.0.0.1:{port}: Address already in use; try another --port"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "loopback"),
        (["--port", "70000"], "port"),
        (["--token-ttl", "-1"], "token_ttl"),
        (["--daily-quota", "-1"], "daily_quota"),
    ],
)
def test_wrong_options(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong option is one clear line and exit code 2."""
    assert main(["emulator", *arguments]) == 2
    assert said in capsys.readouterr().err
