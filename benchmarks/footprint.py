"""Measures of what masivo takes: memory, imports, wake-ups, threads, tokens."""

from __future__ import annotations

import gc
import os
import resource
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .events import make
from .peers import MODULES

if TYPE_CHECKING:
    from .contender import Contender

__all__ = ["idle", "imports", "many", "memory"]


def _resident() -> float:
    """The memory that the process occupies, in bytes."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


async def memory(contender: Contender, count: int, *, keep: bool) -> dict[str, float]:
    """Resident bytes per event that waits.

    Args:
        contender: opened with ``hold``.
        count: how many events.
        keep: whether the caller keeps what the calls return.
    """
    kept: list[object] = []
    for number in range(2_000):
        kept.append(contender.send(make(number)))
    gc.collect()
    before = _resident()
    for number in range(count):
        delivery = contender.send(make(number))
        if keep:
            kept.append(delivery)
    gc.collect()
    return {"bytes": (_resident() - before) / count}


async def idle(contender: Contender, seconds: float) -> dict[str, float]:
    """Wake-ups per second after some events were delivered, in all threads together.

    Args:
        contender: opened.
        seconds: how long to watch.
    """
    for number in range(10):
        contender.send(make(number))
    await contender.finish()
    await contender.sleep(0.5)
    return {"wakeups": await _wakeups(contender, seconds)}


async def _wakeups(contender: Contender, seconds: float) -> float:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    await contender.sleep(seconds)
    # One is the end of that sleep.
    waking = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before - 1
    return max(0, waking) / seconds


async def many(contender: Contender, count: int, *, one_key: bool) -> dict[str, float]:
    """What many clients in one process cost.

    Args:
        contender: not opened; its like are made here.
        count: how many clients.
        one_key: whether they share a key.
    """
    options = contender.options
    sink = options.sink
    sink.set()
    gc.collect()
    memory, cpu, threads = _resident(), time.process_time(), threading.active_count()
    clients: list[Contender] = []
    for number in range(count):
        key = options.key if one_key else f"{options.key}-{number}"
        client = type(contender)(replace(options, key=key))
        await client.open()
        client.send(make(number))
        clients.append(client)
    for client in clients:
        await client.finish()
    counts = sink.read()
    await contender.sleep(0.5)
    result = {
        "threads": float(threading.active_count() - threads),
        "authorizations": float(counts["authorizations"]),
        "missing": float(count - counts["events"]),
        "cpu": (time.process_time() - cpu) / count,
        "bytes": (_resident() - memory) / count,
        "wakeups": await _wakeups(contender, 1.0),
    }
    for client in reversed(clients):
        await client.close()
    return result


_PROGRAMS = {
    "masivo": "import masivo",
    "client": "from masivo import Client; Client('a-key')",
    # httpx imports its transport when it makes a client, and so do we.
    "http": "import httpx, httpcore",
    **{name: f"import {module}" for name, module in MODULES.items()},
}


def imports(times: int) -> dict[str, float]:
    """CPU seconds of an import, over those of a bare interpreter: the least of several runs.

    Args:
        times: how often each is run, in turns.
    """
    least = dict.fromkeys(("bare", *_PROGRAMS), float("inf"))
    for _ in range(times):
        for name, program in {"bare": "pass", **_PROGRAMS}.items():
            least[name] = min(least[name], _cpu_of(program))
    bare = least.pop("bare")
    return {"bare": bare, **{name: seconds - bare for name, seconds in least.items()}}


def _cpu_of(program: str) -> float:
    process = subprocess.Popen([sys.executable, "-I", "-c", program])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{program} failed")
    return usage.ru_utime + usage.ru_stime
