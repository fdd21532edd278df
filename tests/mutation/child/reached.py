"""The functions that were reached, in a file that all processes of a test write to."""

import os
from pathlib import Path

__all__ = ["FILE", "note_all", "take"]

FILE = "REACHED_FUNCTIONS"
"""The variable of the environment that names the file; tests hide those that begin with MASIVO."""

_noted: set[str] = set()
_open, _write, _close = os.open, os.write, os.close  # not those that a test replaces


def note_all() -> None:
    """Have mutmut's wrappers of functions write names to the file in place of its own bookkeeping.

    That one lives in one process, and reads the settings in whatever folder a program runs.
    """
    from mutmut.mutation import trampoline

    path = os.environ[FILE]  # now: a test may empty the environment

    def note(name: str, caller: str | None = None) -> None:
        del caller
        if name not in _noted:
            _noted.add(name)
            file = _open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            _write(file, f"{name}\n".encode())
            _close(file)

    setattr(trampoline, "record_trampoline_hit", note)  # noqa: B010 (it is not exported)


def take() -> set[str]:
    """Return what was reached since the last call."""
    _noted.clear()
    with Path(os.environ[FILE]).open("a+b") as file:
        file.seek(0)
        names = set(file.read().decode().split())
        file.truncate(0)
    return names
