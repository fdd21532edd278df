"""``masivo import`` is interrupted, by Ctrl-C and by force, and resumed: every line is accounted
for."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from masivo.cli.importing import importer
from masivo.emulator import Fault

from .conftest import LIMIT, PROGRAM, clean, event

if TYPE_CHECKING:
    from collections.abc import Generator

    from masivo.emulator.records import RecordedRequest

    from .conftest import Shell

SLOW = Fault(delay=0.1)
"""Leaves time to interrupt an import between two batches."""

IN_FLIGHT = 100
"""Events whose outcome a killed import may not have saved: one batch."""


def wait_for_events(shell: Shell, count: int) -> None:
    """Wait until the server has accepted this many events."""
    shell.emulator.wait_for(lambda emulator: emulator.event_count >= count, timeout=LIMIT)


def duplicates(shell: Shell) -> int:
    """How many events the server has more than once."""
    return shell.emulator.event_count - len({str(each["n"]) for each in shell.emulator.events})


@pytest.mark.parametrize("in_flight", [pytest.param(1, marks=pytest.mark.full), 4])
def test_interrupted_twice(shell: Shell, in_flight: int) -> None:
    """Of many lines, some of them bad, with an import that is interrupted by SIGINT and by
    SIGKILL: each good one arrives, each bad one is in the file of rejected events, once."""
    count = 8_000
    lines: list[object] = [event(n) for n in range(count)]
    bad = range(0, count, 97)
    for n in bad:
        lines[n] = event(n, customer_id="")
    shell.write("f.jsonl", *lines)
    arguments = ("import", "f.jsonl", "--in-flight", str(in_flight))

    with shell.start(*arguments) as process:
        wait_for_events(shell, count // 5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 130, err
    assert b"To resume: masivo import f.jsonl --resume" in err
    assert duplicates(shell) == 0
    delivered = json.loads((shell.folder / "f.jsonl.masivo-import").read_bytes())["delivered"]
    assert delivered == shell.emulator.event_count < count - len(bad)

    with shell.start(*arguments, "--resume") as process:
        wait_for_events(shell, count * 3 // 5)
        process.kill()
        process.communicate(timeout=LIMIT)
    assert shell.emulator.event_count < count - len(bad)

    ended = shell.run(*arguments, "--resume", "--json")
    assert ended.code == 7, ended.err
    result = ended.json()
    assert (result["delivered"], result["rejected"]) == (count - len(bad), len(bad))
    assert {str(each["n"]) for each in shell.emulator.events} == {
        str(n) for n in range(count) if n % 97
    }
    assert duplicates(shell) <= IN_FLIGHT * in_flight
    rejected = [each["rejected"]["line"] - 1 for each in shell.read("f.jsonl.rejected.jsonl")]
    assert rejected == list(bad)


def test_sigterm_is_as_ctrl_c(shell: Shell) -> None:
    """A service that is stopped loses nothing either."""
    shell.write("f.jsonl", *(event(n) for n in range(1_000)))
    shell.emulator.fail(SLOW, route="events", times=None)
    with shell.start("import", "f.jsonl") as process:
        wait_for_events(shell, 100)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    shell.emulator.heal()
    assert shell.masivo("import", "f.jsonl", "--resume").code == 0
    assert [each["n"] for each in shell.emulator.events] == list(range(1_000))


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        *(pytest.param(n, marks=pytest.mark.full) for n in (signal.SIGHUP, signal.SIGTERM)),
    ],
)
def test_an_ignored_signal_stays_ignored(shell: Shell, number: signal.Signals) -> None:
    """A signal that is ignored at the start, as under ``nohup``, does not end an import."""
    shell.write("f.jsonl", *(event(n) for n in range(600)))
    shell.emulator.fail(SLOW, route="events", times=None)
    command = ["/bin/sh", "-c", f"trap '' {number.value}; exec \"$0\" import f.jsonl", str(PROGRAM)]
    with subprocess.Popen(
        command, cwd=shell.folder, env=shell.environ(), stderr=subprocess.PIPE
    ) as process:
        wait_for_events(shell, 100)
        process.send_signal(number)
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, err
    assert shell.emulator.event_count == 600


def test_signals_are_as_before_when_it_is_over(shell: Shell) -> None:
    """A program that calls the command in its own process has its handlers back."""
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    before = [signal.getsignal(number) for number in numbers]
    shell.write("f.jsonl", event(1))
    assert shell.masivo("import", "f.jsonl").code == 0
    assert [signal.getsignal(number) for number in numbers] == before


def test_ctrl_c_once_waits_for_a_while(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import whose server does not respond ends after the time that it has named, once."""
    monkeypatch.setattr(importer, "GRACE", 0.5)
    monkeypatch.setattr(importer, "_TICK", 0.05)
    sent: list[RecordedRequest] = []

    def interrupt(request: RecordedRequest) -> Fault | None:
        if request.route != "events":
            return None
        if not sent:
            os.kill(os.getpid(), signal.SIGINT)
        sent.append(request)
        return Fault(delay=LIMIT)

    shell.emulator.on_request = interrupt
    shell.write("f.jsonl", event(1))
    ended = shell.masivo("import", "f.jsonl")
    assert ended.code == 130
    assert ended.err.count("Waiting up to") == 1


def test_ctrl_c_twice_does_not_wait(shell: Shell) -> None:
    """A second Ctrl-C ends an import whose server does not respond; nothing counts as done."""
    shell.write("f.jsonl", *(event(n) for n in range(1_000)))
    shell.emulator.fail(Fault(delay=LIMIT), route="events", times=None)
    with shell.start("import", "f.jsonl") as process:
        shell.emulator.wait_for(lambda emulator: emulator.batches, timeout=LIMIT)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert b"Ctrl-C again" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=8)  # less than the grace of one Ctrl-C
    assert process.returncode == 130
    assert re.search(rb"Without an outcome: \d+ events?\. --resume sends these again", err)
    state = json.loads((shell.folder / "f.jsonl.masivo-import").read_bytes())
    assert (state["lines"], state["delivered"]) == (0, 0)


def test_waiting_for_standard_input(shell: Shell) -> None:
    """Ctrl-C ends an import that waits for its input; what came before is delivered."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe, shell.start("import", "-", stdin=reading) as process:
        os.close(reading)
        pipe.write(b"".join(json.dumps(event(n)).encode() + b"\n" for n in range(150)))
        pipe.flush()
        wait_for_events(shell, 150)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert b"150 events delivered" in out
    assert b"150 lines of standard input were read" in err


def test_ctrl_c_twice_while_it_waits_for_standard_input(shell: Shell) -> None:
    """What has no outcome by then is in the file of rejected events: it cannot be read again."""
    shell.emulator.fail(Fault(delay=LIMIT), route="events", times=None)
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe, shell.start("import", "-", stdin=reading) as process:
        os.close(reading)
        pipe.write(b"".join(json.dumps(event(n)).encode() + b"\n" for n in range(10)))
        pipe.flush()
        shell.emulator.wait_for(lambda emulator: emulator.batches, timeout=LIMIT)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert b"Ctrl-C again" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=8)  # less than the grace of one Ctrl-C
    assert process.returncode == 130, err
    kept = [each["event"]["n"] for each in shell.read("stdin.rejected.jsonl")]
    assert kept == list(range(10))


def test_killed_between_the_two_files(shell: Shell) -> None:
    """A rejected event that was written but not accounted for is not written twice; what
    somebody has edited since stays."""
    shell.write("f.jsonl", *(event(n) for n in range(1000)), "{bad", "{bad too")
    shell.emulator.fail(Fault(status=503), route="events", number=range(2, 99))
    assert shell.masivo("import", "f.jsonl", "--retries", "0").code == 6
    shell.emulator.heal()
    path = shell.folder / "f.jsonl.rejected.jsonl"
    torn = '{"rejected": {"line": 1001, "reason": "r", "status": null}, "text": "{bad"}\n{"reje'
    path.write_text(torn)
    assert shell.masivo("import", "f.jsonl", "--resume").code == 7
    assert [each["rejected"]["line"] for each in shell.read(path.name)] == [1001, 1002]

    mine = b'{"my": "note"}\n'
    path.write_bytes(path.read_bytes() + mine)
    shell.write("f.jsonl", *(event(n) for n in range(1000)), "{bad", "{bad too", "{and a third")
    assert shell.masivo("import", "f.jsonl", "--resume").code == 7
    lines = path.read_bytes().splitlines(keepends=True)
    assert lines[2] == mine
    assert [json.loads(each)["rejected"]["line"] for each in lines[:2] + lines[3:]] == [
        1001,
        1002,
        1003,
    ]


OURS = b'{"rejected":{"line":301,"reason":"r","status":null},"text":"{bad"}\n'
"""A record that a killed import wrote and did not account for."""


@pytest.mark.parametrize(
    "written",
    [
        b"a note",
        b"a note\n",
        b'{"my": "note"}',
        b'["rejected"]\n',
        b'{"rejected": {"line": 7}, "text": "copied from above"}',
        b"in latin-1: caf\xe9\r\n",
    ],
)
@pytest.mark.parametrize("before", [b"", OURS])
@pytest.mark.parametrize("behind", [b"", OURS])
def test_a_line_of_somebody_else(
    shell: Shell, before: bytes, written: bytes, behind: bytes
) -> None:
    """A line that a user wrote into the file of rejected events stays whole, with a newline or
    without, between records of a killed import or behind them; a resumed import writes these anew,
    once."""
    shell.write("f.jsonl", *(event(n) for n in range(300)), "{bad")
    shell.emulator.fail(Fault(status=503), route="events", number=range(2, 99))
    assert shell.masivo("import", "f.jsonl", "--retries", "0").code == 6
    shell.emulator.heal()
    path = shell.folder / "f.jsonl.rejected.jsonl"
    path.write_bytes(
        before + written + (b"\n" * (not written.endswith(b"\n")) if behind else b"") + behind
    )
    assert shell.masivo("import", "f.jsonl", "--resume").code == 7
    first, second = path.read_bytes().splitlines(keepends=True)
    assert first.removesuffix(b"\n") == written.removesuffix(b"\n")
    assert json.loads(second)["rejected"]["line"] == 301


def test_another_file_for_the_rest(shell: Shell) -> None:
    """A resumed import that writes its rejected events to another file writes to a new one."""
    shell.write("f.jsonl", *(event(n) for n in range(300)), "{bad")
    shell.emulator.fail(Fault(status=503), route="events", number=range(2, 99))
    assert shell.masivo("import", "f.jsonl", "--retries", "0").code == 6
    shell.emulator.heal()
    (shell.folder / "others").write_bytes(OURS)
    ended = shell.masivo("import", "f.jsonl", "--resume", "--rejected", "others")
    assert (ended.code, "others exists already" in ended.err) == (2, True)
    assert (shell.folder / "others").read_bytes() == OURS
    assert shell.masivo("import", "f.jsonl", "--resume", "--rejected", "new").code == 7
    assert [each["rejected"]["line"] for each in shell.read("new")] == [301]


def test_two_at_once(shell: Shell) -> None:
    """While an import of a file runs, another one of it is an error, and sends nothing."""
    shell.write("f.jsonl", *(event(n) for n in range(300)))
    sent, tried = threading.Event(), threading.Event()

    def wait(_: RecordedRequest) -> None:
        sent.set()
        tried.wait(5)

    shell.emulator.on_request = wait
    with shell.start("import", "f.jsonl") as process:
        assert sent.wait(LIMIT)
        others = [
            shell.masivo("import", "f.jsonl", *more)
            for more in ([], ["--resume"], ["--restart"], ["--state", "other"])
        ]
        tried.set()
        process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    for ended in others:
        assert ended.code == 2
        assert "another masivo import of f.jsonl is running" in ended.err
    assert [each["n"] for each in shell.emulator.events] == list(range(300))


# ── A million lines ──────────────────────────────────────────────────────────────────────────

SERVER = """
import json, sys, threading
from masivo.emulator import Emulator

counts = bytearray(int(sys.argv[1]))
total = 0
changed = threading.Condition()
emulator = Emulator()

def count(record):
    # The emulator keeps all that it is sent: here the numbers are enough.
    global total
    if record.status != 200 or record.events is None:
        return
    with changed:
        for event in record.events:
            counts[event["n"]] += 1
        total += len(record.events)
        changed.notify()
    if len(emulator.requests) > 100:
        emulator.clear()

emulator.on_response = count
with emulator:
    print(json.dumps([emulator.client_key, emulator.url]), flush=True)
    for line in sys.stdin:
        with changed:
            changed.wait_for(lambda: total >= int(line))
            missing = counts.count(0)
            print(json.dumps([missing, total - len(counts) + missing]), flush=True)
"""


class Server:
    """An emulator in a process of its own that counts how often each number came."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        key, url = self._read()
        self.environ = {**clean(os.environ), "MASIVO_API_KEY": key, "MASIVO_BASE_URL": url}

    def _read(self) -> list[str]:
        assert self._process.stdout is not None
        response: list[str] = json.loads(self._process.stdout.readline())
        return response

    def wait_for(self, total: int) -> tuple[int, int]:
        """Wait until this many events have come; how many numbers are missing, and how many came
        too often."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{total}\n")
        self._process.stdin.flush()
        missing, too_many = map(int, self._read())
        return missing, too_many


@contextmanager
def serve(count: int) -> Generator[Server]:
    """Run a server for this many numbers."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Server(process)
        finally:
            process.kill()


@dataclass(frozen=True, slots=True)
class Run:
    """The result of a run of the importer."""

    code: int
    memory: int
    """The most resident memory that it had until it was looked at, in KiB."""
    output: dict[str, int]
    """Its result; empty where it could tell none."""


def run(folder: Path, server: Server, at: int, stop: signal.Signals | None = None) -> Run:
    """Import ``f.jsonl``, or go on.

    Args:
        folder: where it is.
        server: where to.
        at: how many events the server must have when the importer's memory is looked at.
        stop: the signal that it gets then.
    """
    with (folder / "out").open("wb+") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(
            [str(PROGRAM), "import", "f.jsonl", "--resume", "--json"],
            cwd=folder,
            env=server.environ,
            stdout=out,
            stderr=err,
        )
        server.wait_for(at)
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        if stop is not None:
            process.send_signal(stop)
        process.wait(LIMIT * 4)
        out.seek(0)
        output = json.loads(out.read() or b"{}")
    return Run(process.returncode, int(status.split("VmHWM:")[1].split()[0]), output)


def write_events(folder: Path, count: int) -> None:
    """Write a file of this many events."""
    with (folder / "f.jsonl").open("w") as file:
        file.writelines(json.dumps(event(n)) + "\n" for n in range(count))


@pytest.mark.full
def test_many_lines(tmp_path: Path) -> None:
    """300,000 lines, interrupted by SIGINT and by SIGKILL, arrive, each of them; the importer
    needs no more memory than for a tenth of them."""
    small, large = 30_000, 300_000
    with serve(small) as server:
        write_events(tmp_path, small)
        first = run(tmp_path, server, at=27_000)
        assert first.code == 0
        assert server.wait_for(small) == (0, 0)
    (tmp_path / "f.jsonl.masivo-import").unlink()

    with serve(large) as server:
        write_events(tmp_path, large)
        interrupted = run(tmp_path, server, 90_000, signal.SIGINT)
        assert interrupted.code == 130
        missing, too_many = server.wait_for(0)
        assert large - missing == interrupted.output["delivered"]
        assert too_many == 0
        killed = run(tmp_path, server, 180_000, signal.SIGKILL)
        assert killed.code == -signal.SIGKILL
        last = run(tmp_path, server, at=285_000)
        assert last.code == 0
        missing, too_many = server.wait_for(large)
    assert missing == 0
    assert too_many <= IN_FLIGHT
    assert last.output["delivered"] == large
    memory = [each.memory for each in (first, interrupted, killed, last)]
    print("memory in KiB:", memory, "; came twice:", too_many)
    assert max(memory) < first.memory + 8 * 1024
