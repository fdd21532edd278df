"""Relays as processes, each on a port of its own that it keeps."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from masivo._protocol.wire.serving import BASE_PATH
from relay.redis_server import free_port

if TYPE_CHECKING:
    from masivo.emulator import Emulator
    from relay.redis_server import RedisServer

__all__ = ["RelayProcess"]

ROOT = Path(__file__).parents[3]


class RelayProcess:
    """A relay.

    Args:
        redis: the fleet's.
        upstream: the API.
        key: that its clients use.
        log: where it writes.
        options: of the command.
    """

    def __init__(
        self, redis: RedisServer, upstream: Emulator, key: str, log: Path, *options: str
    ) -> None:
        self.port: int = free_port()
        self.url: str = f"http://127.0.0.1:{self.port}{BASE_PATH}"
        self.starts: int = 0
        self._log = log
        self._command = [
            *(sys.executable, "-m", "masivo", "relay", "--port", str(self.port), *options)
        ]
        self._environment = {
            **os.environ,
            "MASIVO_API_KEY": upstream.client_key,
            "MASIVO_BASE_URL": upstream.url,
            "MASIVO_RELAY_KEYS": key,
            "MASIVO_RELAY_REDIS": redis.url,
            "PYTHONPATH": str(ROOT),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it is not waited for."""
        self.starts += 1
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )

    @property
    def runs(self) -> bool:
        """True until it has ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def memory(self) -> int:
        """Its resident memory, in KiB."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text("ascii")
        return int(status.partition("VmRSS:")[2].split()[0])

    def wait(self, seconds: float = 60.0) -> None:
        """Wait until it is ready."""
        until = time.monotonic() + seconds
        while not self._ready():
            assert self.runs, self._log.read_text()[-4_000:]
            assert time.monotonic() < until, self._log.read_text()[-4_000:]
            time.sleep(0.02)

    def _ready(self) -> bool:
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)) as each:
                each.request("GET", "/ready")
                return each.getresponse().status == 200
        except OSError:
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._end()

    def stop(self) -> int:
        """Have it end; its exit code."""
        self.signal(signal.SIGTERM)
        return self._end()

    def _end(self) -> int:
        assert self._process is not None
        code = self._process.wait(20.0)
        self._process = None
        return code
