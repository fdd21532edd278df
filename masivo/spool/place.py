"""The check of a spool's directory, which makes it if it is missing.

It imports nothing that a system without spools lacks.
"""

from __future__ import annotations

import os
import stat
import sys
from typing import Final

from masivo import MasivoConfigError

__all__ = ["check_place", "make_place"]

_SYSTEMS: Final = ("linux", "darwin")
_MODE: Final = 0o700


def check_place(path: str | os.PathLike[str]) -> str:
    """Return a directory's absolute path, without links (``~`` is the home directory); make it if
    it is missing.

    Raises:
        MasivoConfigError: it cannot be made or written, others may write to it, or spools do not
            work on this system.
    """
    if sys.platform not in _SYSTEMS:
        raise MasivoConfigError(
            f"spool works on Linux and macOS only, not on {sys.platform}: leave it out"
        )
    given: str = os.path.expanduser(path)  # noqa: PTH111 (the same for str and path)
    # Links are followed now: if one led elsewhere later, removals would not reach the log.
    place = os.path.realpath(given)
    try:
        make_place(place)
        _check(place, os.stat(place))  # noqa: PTH116
    except OSError as error:
        raise MasivoConfigError(
            f"spool={place}: the directory cannot be made or read: "
            f"{error.strerror or error}. Name one that this process may make or write to"
        ) from None
    return place


def make_place(path: str) -> None:
    """Make the directory if it is missing.

    Raises:
        OSError: it cannot be made.
    """
    os.makedirs(path, _MODE, exist_ok=True)  # noqa: PTH103


def _check(place: str, status: os.stat_result) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid != os.geteuid():
        raise MasivoConfigError(
            f"spool={place}: the directory belongs to another user (uid {status.st_uid}, this "
            f"process runs as {os.geteuid()}). Name one that belongs to the user of this process"
        )
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise MasivoConfigError(
            f"spool={place}: others may write to the directory (mode {mode:04o}). Take that "
            f"right away: chmod go-w {place}"
        )
    if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
        raise MasivoConfigError(
            f"spool={place}: the directory cannot be written. Name one that this process may "
            "write to"
        )
