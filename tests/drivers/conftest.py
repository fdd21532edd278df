"""Fixtures of the drivers' tests: an emulator, clients, and limits on what could hang."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from masivo import Client
from masivo.emulator import Emulator

from .worlds import WORLDS, AnyClient, World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

HARD_LIMIT = 45.0
"""Seconds after which a test is broken off, wherever it hangs."""

SECRETS_OF_THE_ENVIRONMENT = "MASIVO_API_KEY", "MASIVO_BASE_URL", "MASIVO_DISABLED"


class Make(Protocol):
    """Makes clients for threads; what of them is left open is destroyed at the end."""

    def __call__(self, **settings: Any) -> Client:
        """A client with these settings; key and base URL are the emulator's by default."""
        ...


class Connect(Protocol):
    """Makes clients of the test's emulator; they are destroyed when the test is over."""

    def __call__(self, **settings: Any) -> AnyClient:
        """A client with these settings; key and base URL are the emulator's by default."""
        ...


@pytest.fixture(autouse=True)
def hard_limit() -> Iterator[None]:
    """Break off a test that hangs: a wait for a lock ends when a signal's handler raises."""

    def on_alarm(_number: int, _frame: FrameType | None) -> None:
        pytest.fail(f"the test hangs: not over within {HARD_LIMIT:g} s")

    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, HARD_LIMIT)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what the shell has set out of the tests."""
    for name in SECRETS_OF_THE_ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the random waits before repeats: their lengths are tested in virtual time."""
    monkeypatch.setattr("masivo._protocol.sending.backoff.FIRST_WAIT", 0.02)


def workers() -> list[threading.Thread]:
    """The package's threads that run now."""
    return [thread for thread in threading.enumerate() if thread.name == "masivo"]


def join_workers(timeout: float = 8.0) -> None:
    """Wait until the package's threads have ended; fails if one does not."""
    for thread in workers():
        thread.join(timeout)
        frame = sys._current_frames().get(thread.ident or 0)
        stack = "".join(traceback.format_stack(frame))
        assert not thread.is_alive(), f"a thread of the package does not end:\n{stack}"


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A running emulator."""
    with Emulator() as emulator:
        yield emulator


@pytest.fixture(params=WORLDS, ids=lambda world: world.name)
def world(request: pytest.FixtureRequest) -> World:
    """Every world in turn."""
    world: World = request.param
    return world


@pytest.fixture
def connect(world: World, emulator: Emulator) -> Iterator[Connect]:
    """Makes clients of the world for the emulator; destroys them at the end.

    The end also waits for the package's threads: none may outlive its clients, and a connection
    that was left open would be a ResourceWarning in somebody else's test.
    """
    made: list[AnyClient] = []

    def connect(**settings: Any) -> AnyClient:
        settings.setdefault("api_key", emulator.client_key)
        settings.setdefault("base_url", emulator.url)
        client = world.client(**settings)
        made.append(client)
        return client

    yield connect
    emulator.heal()
    for client in made:
        client.destroy()
    emulator.stop()  # ends the requests that still hang
    join_workers()


@pytest.fixture
def make(emulator: Emulator) -> Iterator[Make]:
    """As ``connect``, for tests of threads alone."""
    made: list[Client] = []

    def make(**settings: Any) -> Client:
        settings.setdefault("api_key", emulator.client_key)
        settings.setdefault("base_url", emulator.url)
        made.append(Client(**settings))
        return made[-1]

    yield make
    for client in made:
        client.destroy()
    emulator.stop()
    join_workers()


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the package have no thread, as where a limit of the system is reached."""
    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        if self.name == "masivo":
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuse)
