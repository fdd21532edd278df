"""Fixtures of the emulator's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .clients import Client, connected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from masivo.emulator import Emulator


@pytest.fixture
def client(emulator: Emulator) -> Iterator[Client]:
    """A keep-alive connection to the running emulator."""
    with connected(emulator) as client:
        yield client
