"""A directory for spools, and spools in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from masivo.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = "a-key"
URL = "https://api.example.test"
BOUND = 1 << 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The directory of the spools."""
    folder = tmp_path / "spool"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def make(folder: Path) -> Iterator[Callable[..., Spool]]:
    """Makes a spool in the directory; all are released at the end."""
    made: list[Spool] = []

    def make(
        key: str = KEY,
        *,
        max_bytes: int = BOUND,
        segment: int = 4_194_304,
        url: str = URL,
        replaced_key: bool = False,
    ) -> Spool:
        spool = Spool(str(folder), key, url, max_bytes, segment, replaced_key=replaced_key)
        made.append(spool)
        return spool

    yield make
    for spool in made:
        spool.release()


@pytest.fixture
def spool(make: Callable[..., Spool]) -> Spool:
    """A spool in the directory."""
    return make()
