"""The server that everything is sent to: it counts events, and can take its time.

It runs in a process of its own, on a loopback port: ``Sink`` starts and asks it. It answers the
API of every contender, because none of them looks at more than a few members of an answer. To be
no bottleneck it does little: a request is found by its length, and events are counted by the one
mark that each of them holds. What it spent is part of every result (``busy``).
"""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import resource
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Self

from .events import MARK

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Sink", "SinkControl", "raise_file_limit"]

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_NUMBERS = re.compile(MARK + rb"(\d{8})")

# posthog, segment and rudder look at the status alone, amplitude at `code`, mixpanel at `status`,
# snowplow at nothing; masivo takes any JSON.
_TAKEN = b'{"code":200,"status":1,"error":null,"success":true,"data":{"status":"PENDING"}}'
_DATE = formatdate(usegmt=True).encode()
_TOKEN = b'{"data":"a-token-of-the-sink"}'


@dataclass
class Counts:
    """What arrived since the last reset."""

    events: int = 0
    requests: int = 0
    authorizations: int = 0
    last: float = 0.0
    """When the last event arrived: ``time.monotonic``, which all processes share."""
    numbers: list[int] = field(default_factory=list[int])
    """The events' numbers in the order of arrival, if they are collected."""


class Server:
    """The sink's state and its answers."""

    def __init__(self) -> None:
        self.latency = 0.0
        self.collect = False
        self.held: list[Connection] | None = None
        """Connections that wait for an answer; None unless answers are held back."""
        self.counts = Counts()
        self._cpu = time.process_time()

    def take(self, body: bytes) -> None:
        """Count the events of a request."""
        counts = self.counts
        counts.requests += 1
        count = body.count(MARK)
        if count:
            counts.events += count
            counts.last = time.monotonic()
            if self.collect:
                counts.numbers += map(int, _NUMBERS.findall(body))

    def control(self, path: str, body: bytes) -> bytes:
        """Carry out a command of the benchmark."""
        if path == "/-/set":
            wanted = json.loads(body)
            self.latency = wanted["latency"]
            self.collect = wanted["collect"]
            if wanted["hold"]:
                self.held = self.held or []
            else:
                held, self.held = self.held, None
                for connection in held or ():
                    connection.answer(_TAKEN)
            if wanted["reset"]:
                self.counts = Counts()
                self._cpu = time.process_time()
            return b"{}"
        counts = self.counts
        return json.dumps(
            {
                "events": counts.events,
                "requests": counts.requests,
                "authorizations": counts.authorizations,
                "last": counts.last,
                "cpu": time.process_time() - self._cpu,
                "held": len(self.held or ()),
                "numbers": counts.numbers if path == "/-/numbers" else [],
            }
        ).encode()


class Connection(asyncio.Protocol):
    """One connection: requests one after another."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._data = bytearray()
        self._need = 0  # bytes of the current request; 0 until its headers are there
        self._body = 0  # where its body begins
        self._transport: asyncio.Transport | None = None
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self._data += data
        while True:
            if not self._need:
                end = self._data.find(b"\r\n\r\n")
                if end < 0:
                    return
                length = _LENGTH.search(self._data, 0, end + 2)
                self._body = end + 4
                self._need = self._body + (int(length[1]) if length else 0)
            if len(self._data) < self._need:
                return
            head = bytes(self._data[: self._body])
            body = bytes(self._data[self._body : self._need])
            del self._data[: self._need]
            self._need = 0
            self._request(head, body)

    def _request(self, head: bytes, body: bytes) -> None:
        server = self._server
        self._closing = _CLOSE.search(head) is not None
        path = head.split(b" ", 2)[1].decode("latin-1")
        if path.startswith("/-/"):
            self.answer(server.control(path, body))
            return
        if path.endswith("/auth/authorize"):
            server.counts.authorizations += 1
            answer = _TOKEN
        else:
            server.take(body)
            answer = _TAKEN
            if server.held is not None:
                server.held.append(self)
                return
        if server.latency:
            asyncio.get_running_loop().call_later(server.latency, self.answer, answer)
        else:
            self.answer(answer)

    def answer(self, body: bytes) -> None:
        """Answer the request that is open."""
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ndate: %s\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n%s\r\n%s"
            % (_DATE, len(body), b"connection: close\r\n" if self._closing else b"", body)
        )
        if self._closing:
            self._transport.close()


def raise_file_limit() -> None:
    """Allow as many open files as the system lets us: a thousand keys are a thousand sockets."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve() -> None:
    raise_file_limit()
    server = Server()
    listening = await asyncio.get_running_loop().create_server(
        lambda: Connection(server), "127.0.0.1", 0, backlog=1024
    )
    print(listening.sockets[0].getsockname()[1], flush=True)
    # It ends with the process that started it, however that ends.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


class SinkControl:
    """Asks a running sink.

    Args:
        port: where it listens.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def set(
        self,
        *,
        latency: float = 0.0,
        collect: bool = False,
        hold: bool = False,
        reset: bool = True,
    ) -> None:
        """Choose how it answers from now on.

        Args:
            latency: how long each answer takes, in seconds.
            collect: whether the numbers of events are kept.
            hold: whether answers are held back; False lets go of those that were.
            reset: whether the counts begin anew.
        """
        wanted = {"latency": latency, "collect": collect, "hold": hold, "reset": reset}
        self._ask("/-/set", json.dumps(wanted).encode())

    def read(self) -> dict[str, Any]:
        """The counts, and the seconds of CPU time (``cpu``) since the last reset."""
        return self._ask("/-/read")

    def numbers(self) -> list[int]:
        """The numbers of the events in the order of arrival."""
        numbers: list[int] = self._ask("/-/numbers")["numbers"]
        return numbers

    def _ask(self, path: str, body: bytes = b"") -> dict[str, Any]:
        self._connection.request("POST", path, body)
        answer: dict[str, Any] = json.loads(self._connection.getresponse().read())
        return answer


class Sink:
    """A sink's process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sink"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate()


if __name__ == "__main__":
    asyncio.run(_serve())
