"""Which key and base URL the code under test finds, and whether it may leave this machine.

Imported at every start of pytest, so it imports next to nothing.
"""

from __future__ import annotations

import os

from masivo import _guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NOWHERE", "Environment", "address"]

_NAMES = "MASIVO_API_KEY", "MASIVO_BASE_URL", "MASIVO_DISABLED", _guard.LOOPBACK_ONLY


def address(key: str, url: str) -> dict[str, str]:
    """What ``Client()`` is to find."""
    return {"MASIVO_API_KEY": key, "MASIVO_BASE_URL": url}


NOWHERE = address("no-key-before-a-test", "http://localhost:1/no-emulator-in-this-test")
"""For a client that is made while modules are imported: each test gives it an address."""


class Environment:
    """The variables of ``masivo`` in this process's environment, and the guard that goes with them.

    Attributes:
        shell: what they were before.
    """

    def __init__(self) -> None:
        self.shell: dict[str, str] = {
            name: os.environ[name] for name in _NAMES if name in os.environ
        }
        self._guarded = _guard.loopback_only

    def guard(self, variables: Mapping[str, str]) -> None:
        """Set these, no others, and refuse clients that would leave this machine."""
        _guard.loopback_only = True
        _set({**variables, _guard.LOOPBACK_ONLY: "1"})

    def lift(self, variables: Mapping[str, str]) -> None:
        """Set these, no others, and refuse nothing."""
        _guard.loopback_only = False
        _set(variables)

    def restore(self) -> None:
        """Leave everything as it was."""
        _guard.loopback_only = self._guarded
        _set(self.shell)


def _set(variables: Mapping[str, str]) -> None:
    for name in _NAMES:
        if name in variables:
            os.environ[name] = variables[name]
        else:
            os.environ.pop(name, None)
