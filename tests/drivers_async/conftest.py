"""Fixtures of the tests of the event loops' drivers: clients, and what they leave behind.

A test that holds in every world is a coroutine function marked ``anyio``; it is run under asyncio,
uvloop and trio, and takes ``connect`` for a client of the world that it runs in.
"""

from __future__ import annotations

import gc
import logging
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import pytest

import masivo
from masivo._session import registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from masivo.emulator import Emulator

    Loop: TypeAlias = "tuple[str, dict[str, Any]]"

LOOPS: list[Loop] = [
    ("asyncio", {"use_uvloop": False}),
    ("asyncio", {"use_uvloop": True}),
    ("trio", {}),
]

AnyClient: TypeAlias = "masivo.AsyncClient | masivo.TrioClient"


class Connect(Protocol):
    """Makes clients of the test's emulator, in the world that the test runs in."""

    def __call__(self, **settings: Any) -> AnyClient:
        """A client with these settings; key and base URL are the emulator's by default."""
        ...


@pytest.fixture(autouse=True)
def nothing_left_over(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing is left when a test's loop is gone.

    No session in a registry, no complaint of asyncio's (a task destroyed while pending, an
    exception never retrieved), and, as warnings are errors, no socket left open.
    """
    before = {*registry}  # a test of the kit may keep a loop's client for the whole run
    yield
    gc.collect()
    left = [key for key in registry if key not in before]
    registry.clear()  # so that the next test is not blamed
    assert not left, "a session is left over"
    said = [
        record.getMessage()
        for when in ("setup", "call")
        for record in caplog.get_records(when)
        if record.name == "asyncio" and record.levelno >= logging.WARNING
    ]
    assert not said, "asyncio complained"


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Loop:
    """The world that a test marked ``anyio`` runs in: every one in turn."""
    loop: Loop = request.param
    return loop


@pytest.fixture
def connect(anyio_backend: Loop, emulator: Emulator) -> Connect:
    """Makes clients of the world that the test runs in, for the emulator."""
    kind = masivo.TrioClient if anyio_backend[0] == "trio" else masivo.AsyncClient

    def connect(**settings: Any) -> AnyClient:
        settings.setdefault("api_key", emulator.client_key)
        settings.setdefault("base_url", emulator.url)
        return kind(**settings)

    return connect
