"""Programs in processes of their own, started quickly: forked from one that has imported what
they share.

A new interpreter with the package's libraries takes ten times as long. What acts on import (reads
the environment, registers exit functions or what happens at a fork) is not shared: a program
imports it itself, in its own order. Tests of options of the interpreter, and of what is imported,
start an interpreter.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any, Final, Self, TypedDict, Unpack

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Process", "Streams", "start"]

SHARED: Final = (
    *("asyncio", "concurrent.futures", "ctypes", "multiprocessing", "trio", "uuid"),
    *("h11", "masivo.protocol", "masivo.spool"),
)
"""Imported for every program."""

ACTING: Final = "masivo._log"
"""Never shared: its exit functions come from here, and what it finds in the environment."""


class Streams(TypedDict, total=False):
    """The standard streams of a program that are not pipes, by their descriptors."""

    stdin: int
    stdout: int
    stderr: int


class Process:
    """A program that runs, with the part of ``subprocess.Popen`` that the tests need."""

    def __init__(
        self, control: socket.socket, stdin: IO[bytes], stdout: IO[bytes], stderr: IO[bytes]
    ) -> None:
        self._control = control
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | None = None
        self._read: list[bytes] = [b"", b""]
        self._readers: list[threading.Thread] = []
        self.pid = self._number()

    def _number(self) -> int:
        return int.from_bytes(self._control.recv(8, socket.MSG_WAITALL), "big", signed=True)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; its exit code, or the negative number of a signal."""
        if self.returncode is None:
            self._control.settimeout(timeout)
            try:
                self.returncode = self._number()
            except (BlockingIOError, TimeoutError):
                raise subprocess.TimeoutExpired("the program", timeout or 0.0) from None
            self._control.close()
        return self.returncode

    def poll(self) -> int | None:
        """Return its exit code, or None while it runs."""
        try:
            return self.wait(0.0)
        except subprocess.TimeoutExpired:
            return None

    def communicate(
        self, text: bytes | None = None, timeout: float | None = None
    ) -> tuple[bytes, bytes]:
        """Write its input, read what it prints, and wait for its end."""
        end = None if timeout is None else time.monotonic() + timeout
        if text is not None:
            self.stdin.write(text)
        self.stdin.close()
        if not self._readers:
            self._readers = [threading.Thread(target=self._keep, args=(n,)) for n in range(2)]
            for reader in self._readers:
                reader.daemon = True
                reader.start()
        for reader in self._readers:
            reader.join(None if end is None else max(end - time.monotonic(), 0.0))
            if reader.is_alive():
                raise subprocess.TimeoutExpired("the program", timeout or 0.0)
        self.wait(None if end is None else max(end - time.monotonic(), 0.0))
        return self._read[0], self._read[1]

    def _keep(self, n: int) -> None:
        with (self.stdout, self.stderr)[n] as stream:
            self._read[n] = stream.read()

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            stream.close()
        self.wait()


def start(
    code: str,
    *arguments: str,
    file: str = "<string>",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    share: tuple[str, ...] = (),
    **streams: Unpack[Streams],
) -> Process:
    """Start a program.

    Args:
        code: its text.
        arguments: the rest of its ``sys.argv``.
        file: the file that it is in.
        cwd: its working directory.
        env: its environment; by default that of this process.
        share: what it imports and may share with others, besides :data:`SHARED`.
        streams: descriptors of its standard streams, in place of pipes.
    """
    control, theirs = socket.socketpair()
    wanted = streams.get("stdin"), streams.get("stdout"), streams.get("stderr")
    with ExitStack() as until_sent:
        until_sent.enter_context(theirs)

        def piped(*, read: bool) -> tuple[int, IO[bytes]]:
            reading, writing = os.pipe()
            given, kept = (writing, reading) if read else (reading, writing)
            until_sent.callback(os.close, given)
            return given, os.fdopen(kept, "rb" if read else "wb", 0)

        ends = [
            piped(read=number > 0) if given is None else (given, io.BytesIO())
            for number, given in enumerate(wanted)
        ]
        socket.send_fds(_server(share), [b"."], [theirs.fileno(), *(end for end, _ in ends)])
    order = {
        "code": code,
        "file": file,
        "arguments": arguments,
        "cwd": str(cwd or Path.cwd()),
        "environment": dict(os.environ if env is None else env),
    }
    control.sendall(json.dumps(order).encode())
    control.shutdown(socket.SHUT_WR)
    return Process(control, *(ours for _, ours in ends))


@cache
def _server(share: tuple[str, ...]) -> socket.socket:
    """The way to a process that forks others, which ends with this one."""
    ours, theirs = socket.socketpair()
    server = subprocess.Popen(
        [sys.executable, __file__, str(theirs.fileno()), *SHARED, *share],
        pass_fds=[theirs.fileno()],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONFAULTHANDLER": "1"},
    )
    theirs.close()
    atexit.register(server.wait)
    atexit.register(ours.close)
    return ours


# ── The process that forks ───────────────────────────────────────────────────────────────────


def _serve(channel: socket.socket) -> dict[str, Any]:
    """Fork a process for each byte that comes, with the descriptors that come with it; in that
    process, return what it is to run."""
    while True:
        some, given, *_ = socket.recv_fds(channel, 1, 4)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not some:
            sys.exit()
        if not os.fork():
            channel.close()
            order = _begin(*given)
            if order is None:
                os._exit(0)
            return order
        for each in given:
            os.close(each)


def _begin(control_descriptor: int, *streams: int) -> dict[str, Any] | None:
    """Fork once more: the child returns its order; its parent tells its number and how it ended."""
    with socket.socket(fileno=control_descriptor) as control:
        with control.makefile("rb") as file:
            order: dict[str, Any] = json.load(file)
        if child := os.fork():
            for each in streams:
                os.close(each)
            control.sendall(child.to_bytes(8, "big", signed=True))
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            control.sendall(code.to_bytes(8, "big", signed=True))
            return None
    os.setsid()
    for number, each in enumerate(streams):
        os.dup2(each, number)
        os.close(each)
    return order


def _prepare(order: dict[str, Any]) -> dict[str, Any]:
    """Make this process that of a program; return the program's names."""
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = [order["file"], *order["arguments"]]
    main = sys.modules["__main__"] = ModuleType("__main__")
    if order["file"] != "<string>":
        main.__file__ = order["file"]
        sys.path[0] = str(Path(order["file"]).parent)
    return main.__dict__


if __name__ == "__main__":
    sys.path[0] = ""
    for module in sys.argv[2:]:
        importlib.import_module(module)
    assert ACTING not in sys.modules
    gc.collect()
    gc.freeze()
    order = _serve(socket.socket(fileno=int(sys.argv[1])))
    exec(compile(order["code"], order["file"], "exec"), _prepare(order))
