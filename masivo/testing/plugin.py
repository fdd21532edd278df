"""The pytest plugin for tests of apps; ``docs/how-to/testing.md`` describes it.

Its entry point loads it in every run of pytest where the package is installed, so it imports
nothing but pytest until a test uses a fixture.
"""

from __future__ import annotations

import sys
import time

import pytest

from masivo.testing.kit.environment import NOWHERE, OURS, Environment, address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from typing import Any

    from masivo.emulator import Emulator
    from masivo.testing import MasivoClock, MasivoEvents
    from masivo.testing.kit.recorder import Recorder

__all__ = [
    "masivo_clock",
    "masivo_emulator",
    "masivo_events",
]

_REAL_API = "masivo_real_api"
_FIXTURES = "masivo_emulator", "masivo_events", "masivo_clock"
_SHELL = "masivo_shell"


class _Kit:
    """The plugin's state in one run of pytest."""

    def __init__(self, config: pytest.Config) -> None:
        self.environment = Environment()
        self.opted_out: bool = config.getini(_REAL_API)
        self.recorders: list[Recorder] = []
        """The recorder of the test, if it has an emulator."""
        self.clock: MasivoClock | None = None

    def reset_clients(self, variables: Mapping[str, str]) -> None:
        """Reset all clients; those of the kit get this address."""
        if "masivo._client" in sys.modules:
            from masivo.testing.kit.isolation import reset_clients

            reset_clients(variables, OURS)

    def join_workers(self) -> None:
        """Wait until all worker threads have ended."""
        if "masivo._sync.session" in sys.modules:
            from masivo.testing.kit.isolation import join_workers

            join_workers()

    def time(self) -> float:
        """The emulator's time."""
        return time.time() if self.clock is None else self.clock.time()


_kit = pytest.StashKey[_Kit]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option."""
    parser.addini(
        _REAL_API,
        "let clients of masivo reach the real API in all tests, with the key of your shell",
        type="bool",
        default=False,
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Set the guard before a conftest can make a client."""
    _begin(early_config)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    config.addinivalue_line(
        "markers",
        f"{_REAL_API}: let clients of masivo reach the real API in this test, "
        "with the key of your shell",
    )
    config.addinivalue_line(
        "markers", "masivo_emulator(**options): what the test's Emulator is made with"
    )
    kit = _begin(config)
    worker: dict[str, Any] = getattr(config, "workerinput", {})
    if _SHELL in worker:  # a worker of pytest-xdist, whose environment is the controller's
        kit.environment.shell = worker[_SHELL]


def _begin(config: pytest.Config) -> _Kit:
    if _kit not in config.stash:
        kit = config.stash[_kit] = _Kit(config)
        config.add_cleanup(kit.environment.restore)
        if not kit.opted_out:
            kit.environment.guard(NOWHERE)
    return config.stash[_kit]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Send the shell's variables to a worker of pytest-xdist: it inherits the controller's own."""
    node.workerinput[_SHELL] = node.config.stash[_kit].environment.shell


def pytest_itemcollected(item: pytest.Item) -> None:
    """Set up the kit's fixtures first, before anything makes a client."""
    names: list[str] = getattr(item, "fixturenames", [])
    wanted = [name for name in _FIXTURES if name in names]
    if wanted:
        names[:] = [*wanted, *(name for name in names if name not in wanted)]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Hide the shell's variables from a test, or restore them for one that is marked so."""
    kit = item.config.stash[_kit]
    if item.get_closest_marker(_REAL_API) is not None:
        kit.environment.lift(kit.environment.shell)
    elif not kit.opted_out:
        kit.environment.guard({})
    return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Reset the clients, so that nothing of them is left for the next test."""
    kit = item.config.stash[_kit]
    try:
        return (yield)
    finally:
        kit.reset_clients(NOWHERE)
        kit.join_workers()
        if not kit.opted_out:
            kit.environment.guard(NOWHERE)


@pytest.fixture
def masivo_emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """A local server that behaves as the Masivo API does; ``Client()`` finds it without arguments.

    ``@pytest.mark.masivo_emulator(daily_quota=10)`` gives it options.
    """
    from masivo.testing.kit.emulated import emulated

    if "autojump_clock" in request.fixturenames:
        raise RuntimeError(
            "masivo_emulator and pytest-trio's autojump_clock do not go together: while a request "
            "to the emulator is under way, no task of trio runs, so that its time jumps to the "
            "end of every timeout. Use masivo_clock in place of autojump_clock"
        )
    kit = request.config.stash[_kit]
    marker = request.node.get_closest_marker("masivo_emulator")
    if marker is not None and marker.args:
        raise TypeError("the marker masivo_emulator takes options by name, such as daily_quota=10")
    options: dict[str, Any] = {"clock": kit.time, **(marker.kwargs if marker else {})}
    with emulated(options) as (emulator, recorder):
        kit.recorders.append(recorder)
        yield emulator
        kit.recorders.remove(recorder)


@pytest.fixture
def masivo_events(request: pytest.FixtureRequest, masivo_emulator: Emulator) -> MasivoEvents:
    """The events that the code under test has sent."""
    from masivo.testing.kit.events import MasivoEvents

    return MasivoEvents(masivo_emulator, request.config.stash[_kit].recorders[-1])


@pytest.fixture
def masivo_clock(
    request: pytest.FixtureRequest, masivo_emulator: Emulator
) -> Iterator[MasivoClock]:
    """The time of the clients and the emulator, which the test advances."""
    from masivo.testing.kit.clock import MasivoClock
    from masivo.testing.kit.isolation import in_use
    from masivo.testing.kit.virtual import VirtualTime

    if in_use():
        raise RuntimeError(
            "masivo_clock comes too late: a client is in use already, with the real time. Name "
            "masivo_clock among the arguments of the test, or of the fixture that makes the client"
        )
    kit = request.config.stash[_kit]
    here = address(masivo_emulator.client_key, masivo_emulator.url)
    virtual = VirtualTime()
    with virtual.watched():
        with virtual:
            kit.clock = MasivoClock(virtual)
            kit.reset_clients(here)
            yield kit.clock
        kit.reset_clients(here)
        kit.clock = None
