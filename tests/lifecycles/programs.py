"""Real programs in processes of their own, and what they say."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

    from masivo.emulator import Emulator

__all__ = ["LIMIT", "Program", "numbers", "running", "write"]

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

    def says(self, pattern: str) -> re.Match[str]:
        """Wait until it says something; fails when it ends or hangs before."""

        def found() -> bool:
            return re.search(pattern, "".join(self._lines)) is not None

        with self._changed:
            self._changed.wait_for(lambda: found() or not self._reader.is_alive(), LIMIT)
        match = re.search(pattern, self.output)
        assert match is not None, f"it never said {pattern!r}:\n{self.output}"
        return match

    def signal(self, number: int) -> Self:
        """Send it a signal."""
        self._process.send_signal(number)
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
    environment = {
        **os.environ,
        "MASIVO_API_KEY": emulator.client_key,
        "MASIVO_BASE_URL": emulator.url if base_url is None else base_url,
        "PYTHONFAULTHANDLER": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
    }
    process = subprocess.Popen(
        [sys.executable, *command],
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
    found: list[int] = []
    for each in emulator.events:
        metadata = each["metadata"]
        assert isinstance(metadata, dict)
        number = metadata["n"]
        assert isinstance(number, int)
        found.append(number)
    return sorted(found)
