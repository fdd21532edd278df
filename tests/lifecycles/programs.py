"""Real programs in processes of their own, and what they say."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from docs.reader import STAND_INS

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from masivo.emulator import Emulator

__all__ = ["LIMIT", "Program", "numbers", "running", "started", "write"]

LIMIT = 60.0
"""Seconds after which a program counts as hanging; it is then asked for its stacks, and killed."""

PRELUDE = """\
import atexit, os, signal, sys, threading, time
from masivo import Client

def event(n=0):
    return {"type": "VIEW", "customer_id": "c", "brand_id": None, "metadata": {"n": n}}

"""
"""What every program begins with."""


class Program:
    """A running program; its output and errors are read as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, name="program-output", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def output(self) -> str:
        """What it has said so far."""
        with self._changed:
            return "".join(self._lines)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()

    def says(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait until it has said something so often; fails when it ends or hangs before."""

        def found() -> list[re.Match[str]]:
            return list(re.finditer(pattern, "".join(self._lines)))

        with self._changed:
            self._changed.wait_for(
                lambda: len(found()) >= times or not self._reader.is_alive(), LIMIT
            )
            matches = found()
        assert len(matches) >= times, f"it said {pattern!r} too seldom:\n{self.output}"
        return matches[0]

    def signal(self, number: int) -> Self:
        """Send it a signal."""
        self._process.send_signal(number)
        return self

    def interrupt(self) -> Self:
        """Press Ctrl-C: the terminal signals it and all its children."""
        os.killpg(self.pid, signal.SIGINT)
        return self

    def ends(self, code: int | None = 0, limit: float = LIMIT) -> str:
        """Wait until it has ended, with this exit code (None: any); what it said."""
        try:
            ended = self._process.wait(limit)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGABRT)  # faulthandler shows the stacks
            self._reader.join(5)
            raise AssertionError(f"it hangs:\n{self.output}") from None
        self._reader.join(10)
        assert code is None or ended == code, f"exit code {ended}:\n{self.output}"
        return self.output

    def kill(self) -> None:
        """End it and all its children, whatever they do."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(10)
        self._reader.join(10)
        if self._process.stdout is not None:
            self._process.stdout.close()


def write(folder: Path, files: Mapping[str, str], first: str = "") -> None:
    """Write source files, indented as they stand in a test; each begins with ``first`` and then
    PRELUDE."""
    for name, text in files.items():
        (folder / name).write_text(first + PRELUDE + textwrap.dedent(text))


@contextmanager
def running(
    folder: Path, emulator: Emulator, *command: str, base_url: str | None = None
) -> Generator[Program]:
    """Start ``python <command>`` in a folder, with the emulator's key and address."""
    address = emulator.url if base_url is None else base_url
    environment = {"MASIVO_API_KEY": emulator.client_key, "MASIVO_BASE_URL": address}
    with started(folder, [sys.executable, *command], environment) as program:
        yield program


@contextmanager
def started(
    folder: Path, command: Sequence[str], environment: Mapping[str, str]
) -> Generator[Program]:
    """Start a command in a folder, with these variables in its environment besides ours; the
    programs of this interpreter's environment come first, as in one that is activated."""
    environment = {
        **os.environ,
        **environment,
        "PATH": os.pathsep.join(
            [str(Path(sys.executable).parent), os.environ["PATH"], str(STAND_INS)]
        ),
        "PYTHONFAULTHANDLER": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
    }
    process = subprocess.Popen(
        # Popen would look for the program along our own PATH.
        [shutil.which(command[0], path=environment["PATH"]) or command[0], *command[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=folder,
        start_new_session=True,
    )
    program = Program(process)
    try:
        yield program
    finally:
        program.kill()


def numbers(emulator: Emulator) -> list[int]:
    """The numbers of the accepted events, sorted."""
    return sorted(each["metadata"]["n"] for each in emulator.events)
