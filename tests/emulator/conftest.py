"""Fixtures of the emulator's tests."""

from collections.abc import Iterator

import pytest

from masivo.emulator import Emulator

from .clients import Client, connected


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A running emulator."""
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def client(emulator: Emulator) -> Iterator[Client]:
    """A keep-alive connection to the running emulator."""
    with connected(emulator) as client:
        yield client
