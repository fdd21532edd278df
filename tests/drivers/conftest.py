"""Fixtures of the drivers' tests: clients for threads, short waits, a system without threads."""

from __future__ import annotations

import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from masivo import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from masivo.emulator import Emulator


class Connect(Protocol):
    """Makes clients of the test's emulator; they are destroyed when the test is over."""

    def __call__(self, **settings: Any) -> Client:
        """A client with these settings; key and base URL are the emulator's by default."""
        ...


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the random waits before retries: their lengths are tested in virtual time."""
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
def connect(emulator: Emulator) -> Iterator[Connect]:
    """Makes clients for the emulator; destroys them at the end.

    The end also waits for the package's threads: none may outlive its clients, and a connection
    that was left open would be a ResourceWarning in another test.
    """
    made: list[Client] = []

    def connect(**settings: Any) -> Client:
        settings.setdefault("api_key", emulator.client_key)
        settings.setdefault("base_url", emulator.url)
        made.append(Client(**settings))
        return made[-1]

    yield connect
    emulator.heal()
    for client in made:
        client.destroy()
    emulator.stop()  # ends the requests that still hang
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
