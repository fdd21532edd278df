"""Python programs as users write them, run in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from processes import Process, start

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from masivo.emulator import Emulator

LIMIT = 30.0
"""Seconds after which a program is killed, and its test fails."""

EVENT = '{"type": "ADD_TO_CART", "customer_id": "c-1", "brand_id": None, "metadata": {"n": n}}'

Started: TypeAlias = "Process | subprocess.Popen[bytes]"

PRELUDE = f"""
import atexit, os, signal, sys, threading, time
import masivo
from masivo import Client

def event(n=0):
    return {EVENT}

"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended."""

    code: int
    out: str
    err: str
    seconds: float


def run(
    folder: Path,
    emulator: Emulator,
    program: str,
    *,
    prelude: str = "",
    options: tuple[str, ...] = (),
    key: str | None = None,
    base_url: str | None = None,
    environ: Mapping[str, str] | None = None,
    meanwhile: Callable[[Started], None] | None = None,
    limit: float = LIMIT,
) -> Ended:
    """Run a program with the emulator's address and key in its environment.

    Args:
        folder: where the program is written.
        emulator: whose key and address it gets.
        program: its text, which follows PRELUDE; indented as it stands in a test.
        prelude: goes before everything, the import of the package too; not indented.
        options: of an interpreter of its own, which takes longer.
        key: another API key.
        base_url: another base URL.
        environ: more variables of its environment.
        meanwhile: called once it runs.
        limit: seconds after which it is killed.

    A program that outlasts the limit is asked for its stacks before it is killed.
    """
    path = folder / "program.py"
    text = prelude + PRELUDE + textwrap.dedent(program)
    path.write_text(text)  # children that import the program find it there
    environment = {
        **os.environ,
        "MASIVO_API_KEY": emulator.client_key if key is None else key,
        "MASIVO_BASE_URL": emulator.url if base_url is None else base_url,
        "PYTHONFAULTHANDLER": "1",
        **(environ or {}),
    }
    began = time.monotonic()
    with (
        subprocess.Popen(
            [sys.executable, *options, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
        if options
        else start(text, file=str(path), cwd=folder, env=environment)
    ) as process:
        try:
            if meanwhile is not None:
                meanwhile(process)
            out, err = process.communicate(timeout=limit)
        except BaseException as error:
            process.send_signal(signal.SIGABRT)  # faulthandler shows the stacks
            try:
                out, err = process.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                out = err = b""
            _kill_all(process.pid)
            if isinstance(error, subprocess.TimeoutExpired):
                said = f"stdout: {out.decode()}\nstderr: {err.decode()}"
                raise TimeoutError(f"the program hangs.\n{said}") from None
            raise
    return Ended(process.wait(), out.decode(), err.decode(), time.monotonic() - began)


def _kill_all(group: int) -> None:
    """Kill what is left of a program and its children."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
