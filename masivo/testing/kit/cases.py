"""The test kit for ``unittest``, Django's test runner included."""

from __future__ import annotations

import unittest
from typing import TYPE_CHECKING, Any, ClassVar

from masivo._guesses import Advised
from masivo.protocol import configure

from .emulated import emulated
from .environment import NOWHERE, OURS, Environment
from .events import MasivoEvents

if TYPE_CHECKING:
    from collections.abc import Mapping

    from masivo.emulator import Emulator

__all__ = ["MasivoTestCase"]

_environment = Environment()
# Clients that the application made before its tests were imported have the shell's address.
OURS.add(configure(environ=_environment.shell | {"MASIVO_API_KEY": "any"}).account.base_url)
_environment.guard(NOWHERE)


class MasivoTestCase(Advised, unittest.TestCase):
    """Gives each test a local API. Name it before Django's ``TestCase`` among the bases.

    Once this class is imported, no client of this process reaches the real API. In a test, a
    ``Client()`` without arguments finds the emulator, even if it was made at module level.
    """

    masivo_emulator: Emulator
    """A local server that behaves as the Masivo API does."""
    masivo_events: MasivoEvents
    """The events that the code under test has sent."""
    masivo_options: ClassVar[Mapping[str, Any]] = {}
    """Options of the emulator, such as ``{"daily_quota": 10}``."""

    def setUp(self) -> None:
        """Start the emulator; a ``setUp`` of your own calls this one first."""
        _environment.guard(NOWHERE)
        self.masivo_emulator, recorder = self.enterContext(emulated(self.masivo_options))
        self.masivo_events = MasivoEvents(self.masivo_emulator, recorder)
        super().setUp()
