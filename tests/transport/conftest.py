"""What every test here can ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from masivo._http import connections, on_asyncio, on_trio
from masivo._http.sockets import Threads

from .certificates import authority_file
from .worlds import LOOPS, WORLDS, run_in

if TYPE_CHECKING:
    from .worlds import Run


@pytest.fixture(params=WORLDS)
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a script in each world in turn."""
    return run_in(request.param)


@pytest.fixture(params=LOOPS)
def run_in_a_loop(request: pytest.FixtureRequest) -> Run:
    """Runs a script in each event loop in turn."""
    return run_in(request.param)


class Clock:
    """The transport's time, which a test moves on."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self._real = connections.now

    def __call__(self) -> float:
        return self._real() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The transport's time."""
    clock = Clock()
    for place in (connections, on_asyncio, on_trio, Threads):
        monkeypatch.setattr(place, "now", clock)
    return clock


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Servers of the tests' own authority are trusted, by the environment."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority_file(tmp_path_factory.mktemp("ca"))))
