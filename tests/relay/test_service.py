"""One relay, from its start to its end (``masivo/relay/service``)."""

from __future__ import annotations

import asyncio
import sys

import pytest

from masivo.relay.service import run


def test_a_relay_runs_on_uvloop_or_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where uvloop does not exist, asyncio's own loop does the same."""

    async def loop() -> str:
        return type(asyncio.get_running_loop()).__module__.partition(".")[0]

    async def fails() -> None:
        raise OSError("alone")

    assert run(loop()) == "uvloop"
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert run(loop()) == "asyncio"
    with pytest.raises(OSError, match="alone") as caught:
        run(fails())
    assert caught.value.__context__ is None, "logs show what led to an error"
