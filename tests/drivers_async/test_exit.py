"""Loops in daemon threads, which run until the interpreter has exited
(``docs/reference/guarantees.md#exit-of-the-interpreter``)."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

import pytest
from drivers.events import arrived
from drivers.programs import run

from masivo.emulator import Emulator, Fault

if TYPE_CHECKING:
    from pathlib import Path

LOOPS = {
    "asyncio": "run = functools.partial(asyncio.run, use_asyncio())",
    "uvloop": "import uvloop; run = functools.partial(uvloop.run, use_asyncio())",
    "trio": "import trio; run = functools.partial(trio.run, use_trio)",
}

PROGRAM = """
import asyncio, functools, logging
logging.basicConfig(format="LOG %(message)s")
ready = threading.Event()

def send(client):
    for n in range(150):
        client.send_analytics_event(event(n))
    ready.set()

async def use_asyncio():
    send(masivo.AsyncClient())
    await asyncio.sleep(60)  # longer than the program

async def use_trio():
    async with masivo.TrioClient() as client:
        send(client)
        await trio.sleep(60)  # longer than the program

{loop}
threading.Thread(target=run, daemon=True).start()
ready.wait()
"""

HASTE = "from masivo import _process; _process.EXIT_TIMEOUT = 0.4\n"
PATIENCE = "from masivo import _process; _process.EXIT_TIMEOUT = 60.0\n"
"""The exit may take longer than a program of a test."""


@pytest.fixture(params=["asyncio", pytest.param("uvloop", marks=pytest.mark.full), "trio"])
def program(request: pytest.FixtureRequest) -> str:
    """A program whose client waits in a loop in a daemon thread when it ends."""
    loop: str = request.param
    return PROGRAM.format(loop=LOOPS[loop])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_loop_that_still_runs_delivers(
    tmp_path: Path, emulator: Emulator, program: str, host: str
) -> None:
    """The loop delivers what its clients hold, although it can get no thread any more in which to
    look a name up. The exit ends when that is done, not when its time is over."""
    url = emulator.url.replace("127.0.0.1", host)
    ended = run(tmp_path, emulator, program, base_url=url, prelude=PATIENCE)
    assert (ended.code, ended.err) == (0, "")
    assert arrived(emulator) == list(range(150))


def test_an_unclaimed_failure_in_a_loop_that_still_runs_is_told(
    tmp_path: Path, emulator: Emulator, program: str
) -> None:
    """One whose delivery the program has kept, and never asked, is logged at the end."""
    emulator.fail(Fault(status=403), route="events", times=None)
    program = program.replace(
        "        client.send_analytics_event(event(n))",
        "        kept.append((client, client.send_analytics_event(event(n))))",
    )
    ended = run(tmp_path, emulator, program, prelude="kept = []\n")
    assert ended.code == 0
    assert sum(map(int, re.findall(r"(\d+) events were not delivered", ended.err))) == 150


def test_a_loop_that_is_blocked(tmp_path: Path, emulator: Emulator, program: str) -> None:
    """Where the loop does not run on, one warning counts the events, after the time of the exit."""
    program = program.replace("await asyncio.sleep", "time.sleep")
    ended = run(
        tmp_path, emulator, program.replace("await trio.sleep", "time.sleep"), prelude=HASTE
    )
    assert ended.code == 0
    assert ended.err == "LOG 150 events were not sent: the interpreter exited\n"


def test_a_server_that_hangs(tmp_path: Path, emulator: Emulator, program: str) -> None:
    """Where the loop's server hangs, one warning counts the events, as for threads."""
    emulator.fail(Fault(delay=60), times=None)
    ended = run(tmp_path, emulator, textwrap.dedent(program), prelude=HASTE)
    assert ended.code == 0
    [line] = ended.err.splitlines()
    assert "150 events were not delivered" in line
