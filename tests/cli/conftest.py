"""The program as a user runs it, beside an emulator."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Unpack

import pytest
from processes import start

from masivo.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from processes import Process, Streams

    from masivo.emulator import Emulator

PROGRAM = Path(sys.executable).parent / "masivo"
"""The console script of this environment."""

SCRIPT = """
import sys, warnings
warnings.simplefilter("error")
from masivo.__main__ import main
sys.exit(main())
"""
"""What it does."""

SHARED: Final = ("click", "rich.console", "rich.progress")
SHARED_BY_RELAYS: Final = (
    *SHARED,
    *("prometheus_client", "redis.asyncio", "starlette.applications"),
    *("uvicorn", "uvicorn.protocols.http.httptools_impl", "uvloop"),
)
"""Imported by commands."""

LIMIT = 60.0
"""Seconds after which a program is killed, and its test fails."""

_VARIABLES = ("MASIVO_API_KEY", "MASIVO_BASE_URL", "MASIVO_DISABLED", "NO_COLOR", "TERM")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """The JSON object that it printed."""
        document: dict[str, Any] = json.loads(self.out)
        return document


@contextmanager
def standard_input(text: bytes) -> Generator[None]:
    """Put a pipe with a short text in the place of this process's standard input."""
    before = os.dup(0)
    reading, writing = os.pipe()
    os.write(writing, text)
    os.close(writing)
    os.dup2(reading, 0)
    os.close(reading)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)


class Shell:
    """Runs commands in a folder, against an emulator."""

    def __init__(
        self, folder: Path, emulator: Emulator, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.folder = folder
        self.emulator = emulator
        self._capsys = capsys

    def masivo(self, *arguments: str, stdin: bytes = b"") -> Ended:
        """Run a command in this process."""
        self._capsys.readouterr()
        with standard_input(stdin):
            try:
                code = main(arguments)
            except SystemExit as error:  # argparse
                code = int(error.code or 0)
        out, err = self._capsys.readouterr()
        return Ended(code, out, err)

    def environ(self, **more: str) -> dict[str, str]:
        """The environment of a process: key and address are the emulator's."""
        return {**clean(os.environ), **account(self.emulator), "PYTHONWARNINGS": "error", **more}

    def start(
        self,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        **streams: Unpack[Streams],
    ) -> Process:
        """Start the program in a process of its own."""
        environ = self.environ() if environ is None else environ
        return started(*arguments, cwd=self.folder, env=environ, **streams)

    def run(self, *arguments: str, stdin: bytes = b"", **environ: str) -> Ended:
        """Run the program in a process of its own."""
        with self.start(*arguments, environ=self.environ(**environ)) as process:
            out, err = process.communicate(stdin, timeout=LIMIT)
            return Ended(process.wait(), out.decode(), err.decode())

    def write(self, name: str, *lines: object) -> str:
        """Write a file of JSON Lines (a str or bytes is written as it is); returns its name."""
        with (self.folder / name).open("wb") as file:
            for line in lines:
                if not isinstance(line, str | bytes):
                    line = json.dumps(line)
                file.write((line if isinstance(line, bytes) else line.encode()) + b"\n")
        return name

    def read(self, name: str) -> list[dict[str, Any]]:
        """The records of a file of JSON Lines."""
        return [json.loads(line) for line in (self.folder / name).read_bytes().splitlines()]


def started(
    *arguments: str,
    cwd: Path | None = None,
    env: Mapping[str, str],
    **streams: Unpack[Streams],
) -> Process:
    """The program in a process of its own, whose warnings are errors."""
    share = SHARED_BY_RELAYS if arguments[:1] == ("relay",) else SHARED
    return start(SCRIPT, *arguments, cwd=cwd, env=env, share=share, **streams)


def clean(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment without what the tests set themselves."""
    return {name: value for name, value in environ.items() if name not in _VARIABLES}


def account(emulator: Emulator) -> dict[str, str]:
    """The variables that lead to an emulator."""
    return {"MASIVO_API_KEY": emulator.client_key, "MASIVO_BASE_URL": emulator.url}


def event(n: int, **more: object) -> dict[str, object]:
    """A good event."""
    return {"type": "TEST", "customer_id": f"c-{n % 7}", "brand_id": None, "n": n, **more}


@pytest.fixture
def shell(
    tmp_path: Path,
    emulator: Emulator,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Shell:
    """A shell in an empty folder, with key and address of the emulator."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in account(emulator).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("masivo._protocol.sending.backoff.FIRST_WAIT", 0.02)
    return Shell(tmp_path, emulator, capsys)
