"""Clients of the three worlds with a spool, in processes that are killed, that fork, and that end
while the API is down."""

from __future__ import annotations

import collections
import os
import random
import signal
import textwrap
import threading
from typing import TYPE_CHECKING

import processes
import pytest

from masivo import Client, MasivoConfigError
from masivo.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from processes import Process

WORLDS = ("threads", "asyncio", "trio")

PRELUDE = """
import itertools, os, signal, sys, threading, time, warnings, zlib
warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads, from Python 3.12 on
import masivo
from masivo import AsyncClient, Client, TrioClient

FOLDER = sys.argv[1]

def event(name):
    customer = str(zlib.crc32(name.encode()) % 20)
    return {"type": "X", "customer_id": customer, "brand_id": None, "name": name}

def in_loop(world, main):
    if world == "asyncio":
        import asyncio
        asyncio.run(main(AsyncClient))
    else:
        import trio
        trio.run(main, TrioClient)
"""


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """The API."""
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The spool's directory, which the client makes."""
    return tmp_path / "spool"


def start(emulator: Emulator, folder: Path, program: str, *arguments: str) -> Process:
    """Start a program; it is given the directory, and other arguments."""
    return processes.start(
        PRELUDE + textwrap.dedent(program),
        str(folder),
        *arguments,
        env={
            **os.environ,
            "MASIVO_API_KEY": emulator.client_key,
            "MASIVO_BASE_URL": emulator.url,
        },
    )


def run(emulator: Emulator, folder: Path, program: str, *arguments: str) -> tuple[str, str]:
    """Run a program that must end well; its output, and what it logs."""
    process = start(emulator, folder, program, *arguments)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    return out.decode(), err.decode()


def names(emulator: Emulator) -> collections.Counter[str]:
    """The events that the API accepted, by their names, each with its number."""
    return collections.Counter(event["name"] for event in emulator.events)


def deliver_rest(emulator: Emulator, folder: Path) -> None:
    """Have another client deliver what is left; nothing may remain but torn records."""
    with Client(emulator.client_key, base_url=emulator.url, spool=folder) as client:
        client.flush(120.0)  # fast machines accept a million events
    assert [name for name in os.listdir(folder) if not name.endswith(".bad")] == []  # noqa: PTH208 (names)


# ── Killed ───────────────────────────────────────────────────────────────────────────────────

BATCH, IN_FLIGHT = 20, 2

SENDER = f"""
world, run = sys.argv[2:]
options = dict(spool=FOLDER, batch_size={BATCH}, max_in_flight={IN_FLIGHT}, timeout=2.0)

def send(client, n):
    name = f"{{run}}-{{n}}"
    client.send_analytics_event(event(name))
    os.write(1, f"{{name}}\\n".encode())

async def main(Class):
    async with Class(**options) as client:
        n = 0
        while True:
            send(client, n)
            n += 1
            if not n % 10:
                if world == "asyncio":
                    import asyncio
                    await asyncio.sleep(0)
                else:
                    import trio
                    await trio.lowlevel.checkpoint()

if world == "threads":
    client = Client(**options)
    for n in range(10**9):
        send(client, n)
        if not n % 100:
            time.sleep(0.001)
else:
    in_loop(world, main)
"""


@pytest.mark.parametrize("kills", [2, pytest.param(67, marks=pytest.mark.full)])
@pytest.mark.parametrize("world", WORLDS)
def test_a_killed_process_loses_no_event(
    emulator: Emulator, folder: Path, world: str, kills: int
) -> None:
    """Whatever a call returned for has arrived in the end, though processes are killed at random
    moments and the API misbehaves; doubles are within the batches in flight at a kill."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    dice = random.Random(seed)

    def fault(_: object) -> Fault | None:
        draw = dice.random()
        return (
            Fault(status=503)
            if draw < 0.1
            else Fault(reset="after_reading")
            if draw < 0.15
            else None
        )

    told: set[str] = set()
    for n in range(kills):
        emulator.on_request = fault
        process = start(emulator, folder, SENDER, world, str(n))
        lines = [process.stdout.readline()]
        killer = threading.Timer(dice.uniform(0.0, 0.4), process.kill)
        killer.start()
        out, _ = process.communicate()
        killer.join()
        assert process.returncode == -signal.SIGKILL
        lines += out.splitlines(keepends=True)
        told.update(line[:-1].decode() for line in lines if line.endswith(b"\n"))
    emulator.heal()
    deliver_rest(emulator, folder)
    arrived = names(emulator)
    assert told - arrived.keys() == set()
    doubles = sum(count - 1 for count in arrived.values())
    print(f"{len(told)} told, {doubles} doubles")
    assert doubles <= kills * IN_FLIGHT * BATCH


OUTAGE = """
world, run = sys.argv[2:]

async def main(Class):
    async with Class(spool=FOLDER, max_retries=0) as client:
        for n in range(100):
            client.send_analytics_event(event(f"{run}-{n}"))
        os.kill(os.getpid(), signal.SIGKILL)

if world == "threads":
    client = Client(spool=FOLDER, max_retries=0)
    for n in range(100):
        client.send_analytics_event(event(f"{run}-{n}"))
    os.kill(os.getpid(), signal.SIGKILL)
else:
    in_loop(world, main)
"""


@pytest.mark.parametrize(
    "world",
    [pytest.param(each, marks=pytest.mark.full if each != "trio" else ()) for each in WORLDS],
)
def test_events_survive_an_outage_and_a_kill(emulator: Emulator, folder: Path, world: str) -> None:
    """Twice in an outage; each is delivered once."""
    emulator.fail(Fault(status=503), times=None)
    for n in range(2):
        process = start(emulator, folder, OUTAGE, world, str(n))
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
    emulator.heal()
    deliver_rest(emulator, folder)
    assert names(emulator) == {f"{run}-{n}": 1 for run in range(2) for n in range(100)}


@pytest.mark.parametrize("world", WORLDS)
def test_an_exit_in_an_outage_keeps_the_events(
    emulator: Emulator, folder: Path, world: str
) -> None:
    """One line says how many stay where, and the next client sends them."""
    emulator.fail(Fault(status=503), times=None)
    _, err = run(
        emulator,
        folder,
        """
        async def main(Class):
            async with Class(spool=FOLDER) as client:
                client.send_analytics_event(event("a"))

        if sys.argv[2] == "threads":
            Client(spool=FOLDER).send_analytics_event(event("a"))
        else:
            in_loop(sys.argv[2], main)
        """,
        world,
    )
    assert f"1 event of this client stays in the spool {folder}" in err
    emulator.heal()
    deliver_rest(emulator, folder)
    assert names(emulator) == {"a": 1}


def test_two_processes_share_what_a_third_has_left(emulator: Emulator, folder: Path) -> None:
    """Each log is adopted by one of them."""
    emulator.fail(Fault(status=503), times=None)
    for run in range(4):
        client = Client(emulator.client_key, base_url=emulator.url, spool=folder)
        for n in range(100):
            client.send_analytics_event(
                {"type": "X", "customer_id": str(n % 20), "brand_id": None, "name": f"{run}-{n}"}
            )
        client.destroy()
    emulator.heal()
    program = """
    with Client(spool=FOLDER) as client:
        client.flush(30)
    """
    racers = [start(emulator, folder, program) for _ in range(2)]
    for racer in racers:
        _, err = racer.communicate(timeout=60)
        assert racer.returncode == 0, err.decode()
    deliver_rest(emulator, folder)
    assert names(emulator) == {f"{run}-{n}": 1 for run in range(4) for n in range(100)}


# ── Forks, signals, descriptors ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fork", ["os.fork()", "ctypes.PyDLL(None).fork()"])
def test_a_child_of_a_fork_keeps_a_log_of_its_own(
    emulator: Emulator, folder: Path, fork: str
) -> None:
    """Parent and child send their own events, each once, also that by which the child notices the
    fork, as it would complete a batch of its parent's."""
    run(
        emulator,
        folder,
        f"""
        import ctypes
        client = Client(spool=FOLDER, batch_size=11)
        for n in range(10):
            client.send_analytics_event(event(f"before-{{n}}"))
        # A thread that waits for the interpreter's lock is counted among those who do in the child,
        # too, where it is not, and where others then wait for ever: let all come to rest.
        time.sleep(0.5)
        pid = {fork}
        who = "parent" if pid else "child"
        for n in range(10):
            client.send_analytics_event(event(f"{{who}}-{{n}}"))
        client.close()
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)
        """,
    )
    deliver_rest(emulator, folder)
    expected = {f"{who}-{n}": 1 for who in ("before", "parent", "child") for n in range(10)}
    assert names(emulator) == expected


def test_a_signal_handler_sends_in_the_middle_of_a_send(emulator: Emulator, folder: Path) -> None:
    """Of a main thread that sends; nothing is lost, doubled or stuck."""
    out, _ = run(
        emulator,
        folder,
        """
        client = Client(spool=FOLDER)
        numbers = {"h": itertools.count(1), "m": itertools.count(1)}

        def send(who):  # numbers are taken in one step: the next handler can interrupt a slow one
            n = next(numbers[who])
            client.send_analytics_event(event(f"{who}-{n}"))

        ended = []
        signal.signal(signal.SIGVTALRM, lambda *_: ended.append(send("h")))
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.001, 0.001)  # not more often on a busy machine
        while len(ended) < 20:
            send("m")
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        client.close()
        print(next(numbers["h"]) - 1, next(numbers["m"]) - 1)
        """,
    )
    handler, main = map(int, out.split())
    assert handler >= 20
    expected = {f"h-{n}": 1 for n in range(1, handler + 1)}
    expected |= {f"m-{n}": 1 for n in range(1, main + 1)}
    assert names(emulator) == expected
    assert os.listdir(folder) == []  # noqa: PTH208 (names)


def test_a_full_disk_fails_the_delivery(emulator: Emulator, folder: Path) -> None:
    """A bound on the size of files: what was told is kept, the rest was not accepted."""
    out, _ = run(
        emulator,
        folder,
        """
        import resource
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        client = Client(spool=FOLDER)
        deliveries = [client.send_analytics_event(event(str(n))) for n in range(1000)]
        taken = []
        for n, each in enumerate(deliveries):
            error = each.exception() if each.done() else None
            if not isinstance(error, masivo.MasivoQueueFullError):
                taken.append(n)
            else:
                assert not error.spooled and "cannot be written" in error.message, error
        print(*taken)
        client.destroy()
        """,
    )
    kept = out.split()
    assert 20 < len(kept) < 1000
    deliver_rest(emulator, folder)
    # What was delivered before may come again: its removal could not be written either.
    assert names(emulator).keys() == set(kept)


# ── Settings ─────────────────────────────────────────────────────────────────────────────────


def test_a_directory_that_cannot_be_used_is_refused(emulator: Emulator, tmp_path: Path) -> None:
    """At construction, with the cure."""
    file = tmp_path / "file"
    file.touch()
    for place, reason in ((file, "cannot be made"), (file / "below", "cannot be made")):
        with pytest.raises(MasivoConfigError, match=reason):
            Client(emulator.client_key, base_url=emulator.url, spool=place)
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    with pytest.raises(MasivoConfigError, match="chmod go-w"):
        Client(emulator.client_key, base_url=emulator.url, spool=open_to_all)
    with pytest.raises(MasivoConfigError, match="path of a directory"):
        Client(emulator.client_key, base_url=emulator.url, spool=3)  # type: ignore[arg-type]  # wrong


def test_the_environment_names_a_spool(emulator: Emulator, folder: Path) -> None:
    """``MASIVO_SPOOL``; an empty one names none. A disabled client makes no directory."""
    program = """
    for place, enabled in ("", True), (FOLDER, False), (FOLDER, True):
        assert not os.path.exists(FOLDER)
        os.environ["MASIVO_SPOOL"] = place
        client = Client(enabled=enabled)
        client.send_analytics_event(event("a"))
        if not place:
            client.close()
    os.kill(os.getpid(), signal.SIGKILL)
    """
    process = start(emulator, folder, program)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert folder.stat().st_mode & 0o777 == 0o700
    deliver_rest(emulator, folder)
    assert names(emulator) == {"a": 2}
