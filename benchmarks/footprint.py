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
    "masivo client": "from masivo import Client; Client('a-key')",
    "masivo parts": "import h11, msgspec, ssl",
    "masivo-asyncio client": "import asyncio; from masivo import AsyncClient; "
    "AsyncClient('a-key').send_analytics_event",
    "masivo-asyncio parts": "import asyncio, h11, msgspec, ssl",
    "masivo-trio client": "import trio; from masivo import TrioClient; TrioClient('a-key')",
    "masivo-trio parts": "import trio, h11, msgspec, ssl",
    **{name: f"import {module}" for name, module in MODULES.items()},
}


def imports(times: int) -> dict[str, float]:
    """CPU seconds and bytes of an import, over a bare interpreter's: the least of several runs.

    Args:
        times: how often each is run, in turns.
    """
    seconds = dict.fromkeys(("bare", *_PROGRAMS), float("inf"))
    memory = dict(seconds)
    for _ in range(times):
        for name, program in {"bare": "0", **_PROGRAMS}.items():
            cpu, size = _cost_of(program)
            seconds[name], memory[name] = min(seconds[name], cpu), min(memory[name], size)
    over = {name: value - seconds["bare"] for name, value in seconds.items()}
    more = {f"{name} memory": value - memory["bare"] for name, value in memory.items()}
    return {**over, **more, "bare": seconds["bare"], "bare memory": memory["bare"]}


_ENVIRONMENT = {
    # Certificates named here are read by the constructor, else by the first request.
    name: value
    for name, value in os.environ.items()
    if name not in ("SSL_CERT_FILE", "SSL_CERT_DIR")
}
_RESIDENT = "; print(open('/proc/self/statm').read().split()[1])"


def _cost_of(program: str) -> tuple[float, float]:
    """The CPU seconds of a program, and its resident bytes at the end (0.0 outside Linux)."""
    told = _RESIDENT if sys.platform == "linux" else "; print(0)"
    command = [sys.executable, "-I", "-c", program + told]
    process = subprocess.Popen(command, env=_ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as output:
        pages = int(output.read() or 0)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{program} failed")
    return usage.ru_utime + usage.ru_stime, float(pages * resource.getpagesize())
