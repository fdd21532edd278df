"""An emulator for one test, which the clients of the code under test use."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from unittest import mock

from masivo.emulator import Emulator

from .environment import NOWHERE, OURS, address
from .isolation import join_workers, reset_clients
from .recorder import Recorder
from .travel import real_waits

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

__all__ = ["emulated"]


@contextmanager
def emulated(options: Mapping[str, Any]) -> Generator[tuple[Emulator, Recorder], None, None]:
    """Run an emulator with these options for the clients of the code under test, and record their
    events."""
    known = list(inspect.signature(Emulator).parameters)
    for name in options:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            close += (each for each in known if name in each)  # quota
            meant = f"; did you mean {close[0]!r}?" if close else "."
            raise TypeError(
                f"the emulator has no option {name!r}{meant} Its options are: {', '.join(known)}"
            )
    with Emulator(**options) as emulator, Recorder(emulator) as recorder:
        here = address(emulator.client_key, emulator.url)
        OURS.add(emulator.url)
        with real_waits(), mock.patch.dict("os.environ", here):
            reset_clients(here, OURS)
            yield emulator, recorder
        reset_clients(NOWHERE, OURS)
    join_workers()
