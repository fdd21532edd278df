"""Relays that run in a thread of the test, and requests to them."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from masivo._protocol.wire.serving import BASE_PATH
from masivo.protocol import Secret, configure
from masivo.relay.metrics import Metrics
from masivo.relay.server import USUAL, Limits
from masivo.relay.service import Relay, run

from .memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from masivo.protocol import Settings
    from masivo.relay.store import RelayStore

__all__ = ["KEY", "Answer", "Running", "batch", "event", "in_memory", "running", "wait_for"]

KEY = "client-key-of-a-shop"


class Answer(NamedTuple):
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The body, parsed."""
        value: dict[str, Any] = json.loads(self.body)
        return value

    @property
    def details(self) -> str:
        """What is wrong, in words."""
        details: str = self.document["details"]
        return details


class Running:
    """A relay that runs.

    Attributes:
        url: its ``base_url``.
        metrics: its numbers.
    """

    metrics: Metrics | None

    def __init__(
        self, url: str, relay: Relay | None = None, metrics: Metrics | None = None
    ) -> None:
        self.url = url
        self._relay = relay
        self.metrics = metrics
        self._loop = asyncio.get_running_loop() if relay else None
        parts = urlsplit(url)
        self.path = parts.path
        self.port: int = parts.port or 0

    def call(self, function: Callable[[], object]) -> None:
        """Call a function in the relay's loop, soon."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(function)

    def stop(self) -> None:
        """Have it stop."""
        assert self._relay is not None
        self.call(self._relay.stop)

    def connect(self) -> socket.socket:
        """A connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def listens(self) -> bool:
        """True once it takes connections."""
        try:
            self.connect().close()
        except ConnectionRefusedError:
            return False
        return True

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: dict[str, str] | None = None,
        *,
        root: bool = False,
    ) -> Answer:
        """Send a request; its path is below ``base_url``, or the root."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            target = path if root else self.path + path
            connection.request(method, target, body, headers or {})
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()

    def token(self, key: str = KEY) -> str:
        """A token for a key."""
        answer = self.ask("GET", "/auth/authorize", headers={"x-api-key": key})
        assert answer.status == 200, answer
        token: str = answer.document["data"]
        return token

    def send(
        self,
        body: bytes | Iterable[bytes],
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send a batch's body."""
        given = {"authorization": f"Bearer {token or self.token()}", **(headers or {})}
        return self.ask("POST", "/behavior/events/bulk", body, given)

    def numbers(self) -> dict[str, float]:
        """The metrics, by name and labels."""
        lines = self.ask("GET", "/metrics", root=True).body.decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in pairs}


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def event(number: int = 0, customer: str = "c", **more: object) -> dict[str, object]:
    """A small valid event."""
    return {"type": "VIEW", "customer_id": customer, "brand_id": None, "n": number} | more


def batch(*events: object) -> bytes:
    """The body of a batch."""
    return json.dumps({"events": events}).encode()


@contextmanager
def running(
    make: Callable[[Metrics], RelayStore],
    settings: Settings,
    keys: Iterable[str] = (KEY,),
    limits: Limits = USUAL,
    send_buffer: int | None = None,
    *,
    at_once: bool = False,
) -> Generator[Running, None, None]:
    """A relay in a thread of its own.

    Args:
        make: makes its store, in the thread.
        settings: of the client that delivers.
        keys: that clients may use.
        limits: for clients.
        send_buffer: the bytes that the system takes of a response before its client reads.
        at_once: True: do not wait until it takes events.
    """
    listener = socket.socket()
    if send_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    listener.bind(("127.0.0.1", 0))
    started: list[Running] = []
    failed: list[BaseException] = []
    bell = threading.Event()

    async def serve() -> None:
        metrics = Metrics()
        relay = Relay(make(metrics), settings, [Secret(key) for key in keys], metrics, limits)

        def ready(url: str) -> None:
            started.append(Running(url, relay, metrics))
            bell.set()

        if at_once:
            ready(f"http://127.0.0.1:{listener.getsockname()[1]}{BASE_PATH}")
        await relay.run(listener, lambda url: None if at_once else ready(url))

    def thread() -> None:
        try:
            run(serve())
        except BaseException as error:
            failed.append(error)
        finally:
            bell.set()

    runs = threading.Thread(target=thread, name="relay")
    runs.start()
    bell.wait(20)
    if failed:
        runs.join()
        raise failed[0]
    try:
        yield started[0]
    finally:
        if runs.is_alive():
            with suppress(RuntimeError):  # it has ended by itself
                started[0].stop()
        runs.join(20)
        assert not runs.is_alive()
    if failed:
        raise failed[0]


def upstream(base_url: str = "http://127.0.0.1:9/api/storefront/v1") -> Settings:
    """Settings of the client that delivers."""
    return configure(Secret(KEY), environ={}, base_url=base_url)


@contextmanager
def in_memory(
    store: MemoryStore | None = None,
    keys: Iterable[str] = (KEY,),
    limits: Limits = USUAL,
) -> Generator[tuple[Running, MemoryStore], None, None]:
    """A relay over a store in memory."""
    kept = store or MemoryStore()
    with running(lambda _: kept, upstream(), keys, limits) as relay:
        yield relay, kept
