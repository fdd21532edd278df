"""One relay, from its start to its end (``masivo/relay/service``)."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from masivo.relay.service import run

if TYPE_CHECKING:
    import pytest


def test_a_relay_runs_on_uvloop_or_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where uvloop does not exist, asyncio's own loop does the same."""

    async def loop() -> str:
        return type(asyncio.get_running_loop()).__module__.partition(".")[0]

    assert run(loop()) == "uvloop"
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert run(loop()) == "asyncio"
