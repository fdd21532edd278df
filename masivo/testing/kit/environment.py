"""The environment of the code under test: key, base URL, and the loopback-only guard.

pytest imports it at every start, so it imports very little itself.
"""

from __future__ import annotations

import os

from masivo import _guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NOWHERE", "OURS", "Environment", "address"]

_NAMES = (
    "MASIVO_API_KEY",
    "MASIVO_BASE_URL",
    "MASIVO_DISABLED",
    "MASIVO_SPOOL",
    _guard.LOOPBACK_ONLY,
)


def address(key: str, url: str) -> dict[str, str]:
    """Return the variables with which ``Client()`` finds this key and URL."""
    return {"MASIVO_API_KEY": key, "MASIVO_BASE_URL": url}


NOWHERE = address("no-key-before-a-test", "http://localhost:1/no-emulator-in-this-test")
"""The address of a client that is made during imports, until a test sets another."""

OURS = {NOWHERE["MASIVO_BASE_URL"]}
"""The base URLs of clients whose address the kit sets."""


class Environment:
    """The variables of ``masivo`` in this process's environment, and the guard.

    Attributes:
        shell: the variables as the shell set them.
    """

    def __init__(self) -> None:
        self.shell: dict[str, str] = {
            name: os.environ[name] for name in _NAMES if name in os.environ
        }
        self._guarded = _guard.loopback_only

    def guard(self, variables: Mapping[str, str]) -> None:
        """Set only these variables, and allow only clients for this machine."""
        _guard.loopback_only = True
        _set({**variables, _guard.LOOPBACK_ONLY: "1"})

    def lift(self, variables: Mapping[str, str]) -> None:
        """Set only these variables, and lift the guard."""
        _guard.loopback_only = False
        _set(variables)

    def restore(self) -> None:
        """Restore the original variables and guard."""
        _guard.loopback_only = self._guarded
        _set(self.shell)


def _set(variables: Mapping[str, str]) -> None:
    for name in _NAMES:
        if name in variables:
            os.environ[name] = variables[name]
        else:
            os.environ.pop(name, None)
