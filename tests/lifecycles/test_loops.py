"""Loops that somebody else runs: gevent's hub, a notebook's asyncio loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from docs.blocks import ROOT, Page

from .programs import numbers

if TYPE_CHECKING:
    from masivo.emulator import Emulator

    from .conftest import Run

pytestmark = pytest.mark.full


def test_gevent_monkey_patched(run: Run, emulator: Emulator) -> None:
    """Under gevent's monkey patching greenlets send and wait side by side, and the end of the
    program delivers the rest."""
    said = run(
        """
        import gevent

        client = Client(batch_size=10)
        ticks = 0

        def tick():
            global ticks
            while True:
                ticks += 1
                gevent.sleep(0.001)

        def work(first):
            deliveries = [client.send_analytics_event(event(first + n)) for n in range(25)]
            client.flush()
            assert all(each.result().success for each in deliveries)

        ticker = gevent.spawn(tick)
        gevent.joinall([gevent.spawn(work, first) for first in range(0, 200, 25)], raise_error=True)
        ticker.kill()
        assert ticks > 3, "a wait blocked the hub"
        for n in range(200, 220):
            client.send_analytics_event(event(n))
        print("end")
        """,
        first="import gevent.monkey\ngevent.monkey.patch_all()\n",
    )
    assert said == "end\n"
    assert numbers(emulator) == list(range(220))


@pytest.mark.parametrize("made", ["before", "after"])
def test_gevent_that_patches_too_late(run: Run, emulator: Emulator, made: str) -> None:
    """Where gevent patches after the package was imported, the first event says to patch first; no
    wait blocks the hub for ever, the end of the program included."""
    said = run(
        f"""
        from gevent import monkey

        client = Client() if {made == "before"} else None
        monkey.patch_all()
        client = client or Client()
        for attempt in range(2):
            try:
                client.send_analytics_event(event(attempt))
                client.flush(1)
            except RuntimeError as error:
                print("patch_all() first" in str(error))
        """,
    )
    assert said == "True\nTrue\n"
    assert set(numbers(emulator)) <= {0, 1}


def notebook(*cells: str) -> str:
    """A program that runs cells as IPython does: awaited in a loop that runs already."""
    return f"""
import asyncio
from IPython.core.interactiveshell import InteractiveShell

async def notebook():
    shell = InteractiveShell.instance()
    shell.push({{"event": event}})
    for cell in {list(cells)!r}:
        done = await shell.run_cell_async(cell, transformed_cell=cell)
        done.raise_error()

asyncio.run(notebook())
"""


def test_a_notebook(run: Run, emulator: Emulator) -> None:
    """In IPython an AsyncClient made in one cell is used in the next, and what it holds goes out
    between the cells too."""
    said = run(
        notebook(
            "from masivo import AsyncClient",
            "client = AsyncClient(batch_size=2)",
            "first = client.send_analytics_event(event(0))",
            "second = client.send_analytics_event(event(1))\nprint((await second).status)",
            "third = client.send_analytics_event(event(2))",
            "print(await client.flush())",
            "async with AsyncClient() as other: other.send_analytics_event(event(3))",
            "print((await first).success)",
            "await client.aclose()",
        )
    )
    assert said.splitlines() == ["200", "FlushResult(delivered=3, failed=0, spooled=0)", "True"]
    assert numbers(emulator) == [0, 1, 2, 3]


def test_the_cells_of_the_page(run: Run, emulator: Emulator) -> None:
    """The cells that the documentation shows, one after the other."""
    page = Page(ROOT / "docs/how-to/asyncio-and-notebooks.md")
    cells = [block.code for block in page.blocks if "test_loops" in (block.run_by or "")]
    assert len(cells) == 2
    run(notebook(*cells, "await client.aclose()"))
    assert [each["platform"] for each in emulator.events] == ["notebook"]


def test_the_thread_client_inside_a_loop(run: Run, emulator: Emulator) -> None:
    """A Client of threads may send from coroutines: it never waits, and the loop goes on."""
    run("""
        import asyncio

        client = Client(batch_size=10)

        async def main():
            for n in range(100):
                client.send_analytics_event(event(n))
                await asyncio.sleep(0)
            await asyncio.to_thread(client.flush)

        asyncio.run(main())
    """)
    assert numbers(emulator) == list(range(100))
